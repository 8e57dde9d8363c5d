"""What all pipelines share: the order of the seed, batches in threads, images that fail on the way."""

from __future__ import annotations

import logging
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from cvserve.artifact.specs import PreprocSpec
from cvserve.data.pipelines.cache import Cache
from cvserve.data.readers.problems import summary
from cvserve.data.source import Source
from cvserve.errors import ImageError, InvalidInput
from cvserve.extras import require
from cvserve.parallel import ordered_map

if TYPE_CHECKING:
    import tensorflow as tf

CACHE_BYTES = 2 << 30

# Keeps the draws for the order apart from those for the images, which every pipeline numbers for itself.
_ORDER = 1

Example = TypeVar("Example")
AnySource = TypeVar("AnySource", bound=Source)


@dataclass(frozen=True)
class ArraySpec:
    """An array of a batch. shape: None where it differs between batches."""

    dtype: str
    shape: tuple[int | None, ...]


class BatchPipeline(ABC, Generic[AnySource, Example]):
    """The batches of one split, epoch by epoch; what an image becomes and how examples are joined is the task's.

    Args:
        source: the images.
        preproc: the geometry of the network's input.
        cache: of the images; it is filled here.
        batch_size, shuffle, seed, drop_remainder, workers: see `ImagePipeline`.
        log: the name under which the pipeline reports.
    """

    def __init__(
        self,
        source: AnySource,
        preproc: PreprocSpec,
        cache: Cache[Any],
        *,
        batch_size: int,
        shuffle: bool,
        seed: int,
        drop_remainder: bool,
        workers: int | None,
        log: str,
    ) -> None:
        if batch_size < 1:
            raise InvalidInput(f"the batch size must be at least 1, not {batch_size}")
        if seed < 0:
            raise InvalidInput(f"the seed must be 0 or more, not {seed}")
        if workers is not None and workers < 1:
            raise InvalidInput(f"the number of workers must be at least 1, not {workers}")
        self.source = source
        self.preproc = preproc
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.drop_remainder = drop_remainder
        self.workers = workers or os.cpu_count() or 1
        self._log = logging.getLogger(log)
        self._reported: set[int] = set()
        self._lock = threading.Lock()
        self._failure: ImageError | None = None
        self.bad = cache.fill(self.workers)
        self._usable = np.setdiff1d(np.arange(len(source)), [item.index for item in self.bad]).astype(np.int64)
        if self.bad:
            self._log.warning("%s: %s", source.split, summary(self.bad, len(source)))
        self._read_targets()
        if self.steps == 0:
            raise InvalidInput(
                f"{source.split}: {len(self)} images make no batch of {batch_size}; take a smaller batch size"
            )

    @abstractmethod
    def _read_targets(self) -> None:
        """Reads and checks what belongs to the images, once it is known which of them are usable."""

    @abstractmethod
    def _example(self, epoch: int, index: int) -> Example:
        """An image as this epoch shows it.

        Raises:
            ImageError: it cannot be read.
        """

    @abstractmethod
    def _join(self, indices: list[int], examples: list[Example]) -> Any:
        """A batch of examples: a nested tuple of arrays as in `_specs`."""

    @abstractmethod
    def _specs(self) -> Any:
        """`ArraySpec`s, nested as a batch is."""

    def __len__(self) -> int:
        """Number of usable images."""
        return len(self._usable)

    @property
    def steps(self) -> int:
        """Number of batches an epoch."""
        full, rest = divmod(len(self), self.batch_size)
        return full + (rest > 0 and not self.drop_remainder)

    def plan(self, epochs: int) -> None:
        """Says how many epochs the whole training has, as far as is known. Sub-classes may show its end differently."""

    def order(self, epoch: int = 0) -> np.ndarray:
        """int64 [N]: the indices into `source` in the order of this epoch."""
        if not self.shuffle:
            return self._usable
        # All indices are shuffled, then the unusable ones taken out: the rest keep their order whatever is missing.
        shuffled = np.random.default_rng((self.seed, epoch, 0, _ORDER)).permutation(len(self.source))
        return shuffled[np.isin(shuffled, self._usable)]

    def epoch(self, epoch: int = 0) -> tf.data.Dataset:
        """The epoch's batches as a tf.data.Dataset, prefetched; its cardinality is `steps`.

        Raises:
            MissingExtra: TensorFlow is not installed.
        """
        tensorflow = require("tensorflow")
        order = self.order(epoch)
        specs = self._specs()
        flat = tensorflow.nest.flatten(specs)

        def make(step: np.ndarray) -> list[np.ndarray]:
            try:
                arrays: list[np.ndarray] = tensorflow.nest.flatten(self._batch(epoch, self._part(order, int(step)))[1])
            except ImageError as error:
                self._failure = error  # TensorFlow hands on its text alone
                raise
            return arrays

        def shaped(step: tf.Tensor) -> Any:
            tensors = tensorflow.numpy_function(make, [step], [spec.dtype for spec in flat], stateful=False)
            for tensor, spec in zip(tensors, flat, strict=True):
                tensor.set_shape(spec.shape)
            return tensorflow.nest.pack_sequence_as(specs, tensors)

        # A whole batch a call: the cost of entering Python is paid once, and OpenCV works without the GIL.
        dataset = tensorflow.data.Dataset.range(self.steps)
        dataset = dataset.map(shaped, num_parallel_calls=self.workers, deterministic=True).prefetch(self.workers)
        options = tensorflow.data.Options()
        options.threading.private_threadpool_size = self.workers
        options.autotune.enabled = False
        return dataset.with_options(options)

    def batches(self, epoch: int = 0) -> Iterator[Any]:
        """Iterates over `epoch(epoch)`.

        Raises:
            ImageError: not one image of a batch can be read. (The dataset itself would raise an error of TensorFlow.)
        """
        self._failure = None
        try:
            yield from self.epoch(epoch)
        except require("tensorflow").errors.OpError:
            if self._failure is None:
                raise
            raise self._failure from None

    def indexed(self, epoch: int = 0) -> Iterator[tuple[np.ndarray, Any]]:
        """The epoch's batches as numpy arrays, each with the indices of its images, int64 [B], for scoring.

        Images that fail late are missing in both alike. Raises as `batches` does.
        """
        order = self.order(epoch)
        make: Callable[[int], tuple[np.ndarray, Any]] = lambda step: self._batch(epoch, self._part(order, step))  # noqa: E731
        yield from ordered_map(make, range(self.steps), workers=self.workers, ahead=self.workers)

    def _part(self, order: np.ndarray, step: int) -> np.ndarray:
        return order[step * self.batch_size : (step + 1) * self.batch_size]

    def _batch(self, epoch: int, indices: np.ndarray) -> tuple[np.ndarray, Any]:
        """The indices of the images that could be read, and their batch.

        Raises:
            ImageError: not one of them can be read.
        """
        shown: list[int] = []
        examples: list[Example] = []
        failure: ImageError | None = None
        for index in indices.tolist():
            try:
                examples.append(self._example(epoch, index))
                shown.append(index)
            except ImageError as error:
                failure = error
                self._report_late(index, error)
        if failure is not None and not shown:
            raise failure
        return np.array(shown, np.int64), self._join(shown, examples)

    def _stack(self, examples: list[np.ndarray]) -> np.ndarray:
        """uint8 RGB [B, H, W, 3]; B may be 0."""
        images = np.empty((len(examples), self.preproc.height, self.preproc.width, 3), np.uint8)
        for row, pixels in enumerate(examples):
            images[row] = pixels
        return images

    def _report_late(self, index: int, error: ImageError) -> None:
        with self._lock:
            if index in self._reported:
                return
            self._reported.add(index)
        self._log.warning("%s is left out of its batches: %s", error.source, error.reason)
