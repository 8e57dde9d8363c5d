"""Makes batches in threads, in an order that a seed fixes: what the pipelines of all tasks share."""

from __future__ import annotations

import logging
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Required, TypedDict, TypeVar

import numpy as np

from cvserve.artifact.specs import PreprocSpec
from cvserve.data.augment.augment import Augmentation
from cvserve.data.pipelines.cache import Cache
from cvserve.data.problems import summary
from cvserve.data.source import Source
from cvserve.errors import ImageError, InvalidInput
from cvserve.extras import require
from cvserve.parallel import ordered_map

if TYPE_CHECKING:
    import tensorflow as tf

CACHE_BYTES = 2 << 30

# Keeps the random numbers for the order apart from those for the images; each pipeline has a number of its own.
_ORDER = 1

Example = TypeVar("Example")
AnySource = TypeVar("AnySource", bound=Source)


class PipelineOptions(TypedDict, total=False):
    """Holds the options that the pipelines of all tasks have; all but `batch_size` may be left out.

    batch_size: the last batch of an epoch may be smaller, unless drop_remainder.
    augmentation: None (the default) shows images as `preproc.preprocess` gives them, byte for byte.
    shuffle: a new order in each epoch; by default in index order, as evaluation needs it.
    seed: 0 or more; 0 by default.
    drop_remainder: leaves out a last batch that is smaller; by default it is kept.
    cache_bytes: memory for decoded images at most; 2 GiB by default.
    workers: threads; None (the default) takes one per core.
    """

    batch_size: Required[int]
    augmentation: Augmentation | None
    shuffle: bool
    seed: int
    drop_remainder: bool
    cache_bytes: int
    workers: int | None


@dataclass(frozen=True)
class ArraySpec:
    """Describes an array of a batch. shape: None for a dimension that differs between batches."""

    dtype: str
    shape: tuple[int | None, ...]


class BatchPipeline(ABC, Generic[AnySource, Example]):
    """Makes the batches of one split, epoch by epoch; each task says what an example is and how examples are joined.

    Everything is decided by (seed, epoch): the order, and the augmentation of image i by (seed, epoch, i). Threads,
    the cache and earlier epochs have no influence, so that a training resumed at epoch k sees the very same batches.

    On construction every image that the cache has room for is decoded, and of the others the header is read. Images
    that cannot be used are reported (in the log of the pipeline's module, and in `bad`) and left out. An image that
    fails later, because it is not cached and damaged behind its header, or because its disk is gone, is left out of
    its batch with a warning; a batch of which no image can be read raises.

    Args:
        source: the images.
        preproc: the geometry of the network's input.
        log: the name of the log.
        batch_size, ...: see `PipelineOptions`.
    """

    def __init__(
        self,
        source: AnySource,
        preproc: PreprocSpec,
        *,
        log: str,
        batch_size: int,
        augmentation: Augmentation | None = None,
        shuffle: bool = False,
        seed: int = 0,
        drop_remainder: bool = False,
        cache_bytes: int = CACHE_BYTES,
        workers: int | None = None,
    ) -> None:
        if batch_size < 1:
            raise InvalidInput(f"the batch size must be at least 1, not {batch_size}")
        if seed < 0:
            raise InvalidInput(f"the seed must be 0 or more, not {seed}")
        if workers is not None and workers < 1:
            raise InvalidInput(f"the number of workers must be at least 1, not {workers}")
        self.source = source
        self.preproc = preproc
        self.augmentation = augmentation or Augmentation.none()
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.drop_remainder = drop_remainder
        self.workers = workers or os.cpu_count() or 1
        self._log = logging.getLogger(log)
        self._reported: set[int] = set()
        self._lock = threading.Lock()
        self._failure: ImageError | None = None
        self.bad = self._open_cache(cache_bytes).fill(self.workers)
        self._usable = np.setdiff1d(np.arange(len(source)), [item.index for item in self.bad]).astype(np.int64)
        if self.bad:
            self._log.warning("%s: %s", source.split, summary(self.bad, len(source)))
        self._read_targets()
        if self.steps == 0:
            raise InvalidInput(
                f"{source.split}: {len(self)} images make no batch of {batch_size}; take a smaller batch size"
            )

    @abstractmethod
    def _open_cache(self, limit: int) -> Cache[Any]:
        """Makes the cache of the images, of at most `limit` bytes; it is filled afterwards."""

    @abstractmethod
    def _read_targets(self) -> None:
        """Reads and checks the targets of the images, once it is known which images are usable."""

    @abstractmethod
    def _example(self, epoch: int, index: int) -> Example:
        """Returns an image and its targets as this epoch shows them.

        Raises:
            ImageError: it cannot be read.
        """

    @abstractmethod
    def _join(self, indices: list[int], examples: list[Example]) -> Any:
        """Joins examples to a batch: a nested tuple of arrays as in `_specs`."""

    @abstractmethod
    def _specs(self) -> Any:
        """Returns `ArraySpec`s, nested as a batch is."""

    def __len__(self) -> int:
        """Returns the number of usable images."""
        return len(self._usable)

    @property
    def steps(self) -> int:
        """Returns the number of batches in an epoch."""
        full, rest = divmod(len(self), self.batch_size)
        return full + (rest > 0 and not self.drop_remainder)

    def plan(self, epochs: int) -> None:
        """Sets how many epochs the whole training has. Sub-classes may show its last epochs differently."""

    def order(self, epoch: int = 0) -> np.ndarray:
        """Returns the indices into `source` in the order of this epoch: int64 [N]."""
        if not self.shuffle:
            return self._usable
        # All indices are shuffled, then the unusable ones taken out: the rest keep their order whatever is missing.
        shuffled = np.random.default_rng((self.seed, epoch, 0, _ORDER)).permutation(len(self.source))
        return shuffled[np.isin(shuffled, self._usable)]

    def epoch(self, epoch: int = 0) -> tf.data.Dataset:
        """Returns the epoch's batches as a tf.data.Dataset, prefetched; its cardinality is `steps`.

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

        # One call makes a whole batch: the cost of entering Python is paid once, and OpenCV works without the GIL.
        dataset = tensorflow.data.Dataset.range(self.steps)
        dataset = dataset.map(shaped, num_parallel_calls=self.workers, deterministic=True).prefetch(self.workers)
        options = tensorflow.data.Options()
        options.threading.private_threadpool_size = self.workers
        options.autotune.enabled = False
        return dataset.with_options(options)

    def batches(self, epoch: int = 0) -> Iterator[Any]:
        """Iterates over `epoch(epoch)`.

        Raises:
            ImageError: no image of a batch can be read. (The dataset itself would raise an error of TensorFlow.)
        """
        self._failure = None
        try:
            yield from self.epoch(epoch)
        except require("tensorflow").errors.OpError:
            if self._failure is None:
                raise
            raise self._failure from None

    def indexed(self, epoch: int = 0) -> Iterator[tuple[np.ndarray, Any]]:
        """Yields the epoch's batches as numpy arrays, each after the indices of its images, int64 [B], for scoring.

        Images that fail late are missing in both. Raises as `batches` does.
        """
        order = self.order(epoch)
        make: Callable[[int], tuple[np.ndarray, Any]] = lambda step: self._batch(epoch, self._part(order, step))  # noqa: E731
        yield from ordered_map(make, range(self.steps), workers=self.workers, ahead=self.workers)

    def _part(self, order: np.ndarray, step: int) -> np.ndarray:
        return order[step * self.batch_size : (step + 1) * self.batch_size]

    def _batch(self, epoch: int, indices: np.ndarray) -> tuple[np.ndarray, Any]:
        """Returns the indices of the images that could be read, and their batch.

        Raises:
            ImageError: none of them can be read.
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
        """Stacks images to uint8 RGB [B, H, W, 3]; B may be 0."""
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
