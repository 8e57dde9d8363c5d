"""Labelled pictures to batches: decoded by `preproc`, augmented, in an order that a seed fixes."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from cvserve.artifact.specs import PreprocSpec
from cvserve.data.augment import Augmentation, flip_and_colour
from cvserve.data.cache import PictureCache
from cvserve.data.dataset import Dataset, Source
from cvserve.data.problems import summary
from cvserve.errors import ImageError, InvalidInput
from cvserve.extras import require

if TYPE_CHECKING:
    import tensorflow as tf

_log = logging.getLogger(__name__)

CACHE_BYTES = 2 << 30

# Keep the draws for the order apart from those for the pictures.
_ORDER, _PICTURE = 1, 2


class ImagePipeline:
    """The batches of one split, epoch by epoch.

    Everything is decided by (seed, epoch): the order, and the augmentation of picture i by (seed, epoch, i). Threads,
    the cache and earlier epochs have no influence, so that a training resumed at epoch k sees the very same batches.

    On construction every picture that the cache has room for is decoded, and of the others the header is read. What
    cannot be used is reported (log "cvserve.data.pipeline" and `bad`) and left out. A picture that fails later, because
    it is not cached and damaged behind its header, or its disk went away, is left out of its batch with a warning; a
    batch of which nothing can be read raises.

    Args:
        source: the pictures and their labels.
        preproc: the geometry of the network's input.
        batch_size: the last batch of an epoch may be smaller, unless drop_remainder.
        augmentation: None shows pictures as `preproc.preprocess` gives them, byte for byte.
        shuffle: a new order each epoch; otherwise index order, as evaluation wants it.
        seed: 0 or more.
        cache_bytes: memory for decoded pictures at most.
        workers: threads; None takes one a core.

    Raises:
        InvalidInput: an option out of range, or no picture of some class can be used.

    Example:
        pipeline = ImagePipeline(open_dataset("photos"), spec, batch_size=32, shuffle=True)
        for epoch in range(40):
            for images, labels in pipeline.batches(epoch):
                ...
    """

    def __init__(
        self,
        source: Source,
        preproc: PreprocSpec,
        *,
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
        self.source: Any = source
        self.preproc = preproc
        self.batch_size = batch_size
        self.augmentation = augmentation or Augmentation.none()
        self.shuffle = shuffle
        self.seed = seed
        self.drop_remainder = drop_remainder
        self.workers = workers or os.cpu_count() or 1
        self._cache = PictureCache(source, preproc, self.augmentation, cache_bytes)
        self._reported: set[int] = set()
        self._lock = threading.Lock()
        self._failure: ImageError | None = None
        self.bad = self._cache.fill(self.workers)
        self._usable = np.setdiff1d(np.arange(len(source)), [item.index for item in self.bad]).astype(np.int64)
        if self.bad:
            _log.warning("%s: %s", source.split, summary(self.bad, len(source)))
        self._read_targets()
        if self.steps == 0:
            raise InvalidInput(
                f"{source.split}: {len(self)} pictures make no batch of {batch_size}; take a smaller batch size"
            )

    def __len__(self) -> int:
        """Number of usable pictures."""
        return len(self._usable)

    @property
    def steps(self) -> int:
        """Number of batches an epoch."""
        full, rest = divmod(len(self), self.batch_size)
        return full + (rest > 0 and not self.drop_remainder)

    def order(self, epoch: int = 0) -> np.ndarray:
        """int64 [N]: the indices into `source` in the order of this epoch."""
        if not self.shuffle:
            return self._usable
        # All indices are shuffled, then the unusable ones taken out: the rest keep their order whatever is missing.
        shuffled = np.random.default_rng((self.seed, epoch, 0, _ORDER)).permutation(len(self.source))
        return shuffled[np.isin(shuffled, self._usable)]

    def batch(self, epoch: int, indices: np.ndarray) -> tuple[np.ndarray, Any]:
        """Pictures as this epoch shows them: uint8 RGB [B, H, W, 3] and their labels, int32 [B].

        Raises:
            ImageError: not one of them can be read.
        """
        images = np.empty((len(indices), self.preproc.height, self.preproc.width, 3), np.uint8)
        shown: list[int] = []
        failure: ImageError | None = None
        for index in indices.tolist():
            try:
                images[len(shown)] = self._picture(epoch, index)
                shown.append(index)
            except ImageError as error:
                failure = error
                self._report_late(index, error)
        if failure is not None and not shown:
            raise failure
        return images[: len(shown)], self._labels[shown]

    def epoch(self, epoch: int = 0) -> tf.data.Dataset:
        """The epoch as a tf.data.Dataset of (uint8 [B, H, W, 3], int32 [B]), prefetched; its cardinality is `steps`.

        Raises:
            MissingExtra: TensorFlow is not installed.
        """
        tensorflow = require("tensorflow")
        order = self.order(epoch)

        def make(step: np.ndarray) -> Any:
            start = int(step) * self.batch_size
            try:
                return self.batch(epoch, order[start : start + self.batch_size])
            except ImageError as error:
                self._failure = error  # TensorFlow hands on its text alone
                raise

        # A whole batch a call: the cost of entering Python is paid once, and OpenCV works without the GIL.
        dataset = tensorflow.data.Dataset.range(self.steps)
        dataset = dataset.map(
            lambda step: self._tensors(make, step), num_parallel_calls=self.workers, deterministic=True
        ).prefetch(self.workers)
        options = tensorflow.data.Options()
        options.threading.private_threadpool_size = self.workers
        options.autotune.enabled = False
        return dataset.with_options(options)

    def batches(self, epoch: int = 0) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        """Iterates over `epoch(epoch)`.

        Raises:
            ImageError: not one picture of a batch can be read. (The dataset itself would raise an error of TensorFlow.)
        """
        self._failure = None
        try:
            yield from self.epoch(epoch)
        except require("tensorflow").errors.OpError:
            if self._failure is None:
                raise
            raise self._failure from None

    def _tensors(self, make: Callable[[np.ndarray], Any], step: tf.Tensor) -> Any:
        """What `make` gives for a step, as tensors of known shapes."""
        tensorflow = require("tensorflow")
        images, labels = tensorflow.numpy_function(make, [step], (tensorflow.uint8, tensorflow.int32), stateful=False)
        images.set_shape((None, self.preproc.height, self.preproc.width, 3))
        labels.set_shape((None,))
        return images, labels

    def _picture(self, epoch: int, index: int) -> np.ndarray:
        rng = np.random.default_rng((self.seed, epoch, index, _PICTURE))
        pixels = self._cache.finish(self._cache.get(index), rng)
        return flip_and_colour(pixels, self.augmentation, rng)

    def _read_targets(self) -> None:
        """Reads what belongs to the pictures.

        Raises:
            InvalidInput: no picture of some class can be used.
        """
        self._labels = np.array([self.source.label(index) for index in range(len(self.source))], np.int32)
        for label in sorted(set(self._labels.tolist()) - set(self._labels[self._usable].tolist())):
            raise InvalidInput(
                f"{self.source.split}: no picture of class {self.source.classes[label]} can be used; the first: "
                f"{next(item for item in self.bad if self._labels[item.index] == label)}"
            )

    def _report_late(self, index: int, error: ImageError) -> None:
        with self._lock:
            if index in self._reported:
                return
            self._reported.add(index)
        _log.warning("%s is left out of its batches: %s", error.source, error.reason)


def image_dataset(
    source: Dataset,
    preproc: PreprocSpec,
    *,
    batch_size: int,
    augmentation: Augmentation | None = None,
    shuffle: bool = False,
    seed: int = 0,
    epoch: int = 0,
    drop_remainder: bool = False,
    cache_bytes: int = CACHE_BYTES,
    workers: int | None = None,
) -> tf.data.Dataset:
    """One epoch as a tf.data.Dataset; for several epochs make one `ImagePipeline`, whose cache outlives them."""
    pipeline = ImagePipeline(
        source,
        preproc,
        batch_size=batch_size,
        augmentation=augmentation,
        shuffle=shuffle,
        seed=seed,
        drop_remainder=drop_remainder,
        cache_bytes=cache_bytes,
        workers=workers,
    )
    return pipeline.epoch(epoch)
