"""Labelled images to batches: decoded by `preproc`, augmented, in an order that a seed fixes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cvserve.artifact.specs import PreprocSpec
from cvserve.data.augment.augment import Augmentation, flip_and_color
from cvserve.data.pipelines.base import CACHE_BYTES, ArraySpec, BatchPipeline
from cvserve.data.pipelines.cache import ImageCache
from cvserve.data.source import Dataset
from cvserve.errors import InvalidInput

if TYPE_CHECKING:
    import tensorflow as tf

# Keeps the draws for the images apart from those for the order.
_IMAGE = 2


class ImagePipeline(BatchPipeline[Dataset, np.ndarray]):
    """The batches of one split, epoch by epoch.

    Everything is decided by (seed, epoch): the order, and the augmentation of image i by (seed, epoch, i). Threads,
    the cache and earlier epochs have no influence, so that a training resumed at epoch k sees the very same batches.

    On construction every image that the cache has room for is decoded, and of the others the header is read. What
    cannot be used is reported (log "cvserve.data.pipelines.classification" and `bad`) and left out. An image that
    fails later, because
    it is not cached and damaged behind its header, or its disk went away, is left out of its batch with a warning; a
    batch of which nothing can be read raises.

    Args:
        source: the images and their labels.
        preproc: the geometry of the network's input.
        batch_size: the last batch of an epoch may be smaller, unless drop_remainder.
        augmentation: None shows images as `preproc.preprocess` gives them, byte for byte.
        shuffle: a new order each epoch; otherwise index order, as evaluation wants it.
        seed: 0 or more.
        cache_bytes: memory for decoded images at most.
        workers: threads; None takes one a core.

    Raises:
        InvalidInput: an option out of range, or no image of some class can be used.

    Example:
        pipeline = ImagePipeline(open_dataset("photos"), spec, batch_size=32, shuffle=True)
        for epoch in range(40):
            for images, labels in pipeline.batches(epoch):
                ...
    """

    def __init__(
        self,
        source: Dataset,
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
        self.augmentation = augmentation or Augmentation.none()
        self._cache = ImageCache(source, preproc, self.augmentation, cache_bytes)
        super().__init__(
            source,
            preproc,
            self._cache,
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            drop_remainder=drop_remainder,
            workers=workers,
            log=__name__,
        )

    def batch(self, epoch: int, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images as this epoch shows them: uint8 RGB [B, H, W, 3] and their labels, int32 [B].

        Raises:
            ImageError: not one of them can be read.
        """
        images, labels = self._batch(epoch, indices)[1]
        return images, labels

    def _read_targets(self) -> None:
        self._labels = np.array([self.source.label(index) for index in range(len(self.source))], np.int32)
        for label in sorted(set(self._labels.tolist()) - set(self._labels[self._usable].tolist())):
            raise InvalidInput(
                f"{self.source.split}: no image of class {self.source.classes[label]} can be used; the first: "
                f"{next(item for item in self.bad if self._labels[item.index] == label)}"
            )

    def _example(self, epoch: int, index: int) -> np.ndarray:
        rng = np.random.default_rng((self.seed, epoch, index, _IMAGE))
        pixels = self._cache.finish(self._cache.get(index), rng)
        return flip_and_color(pixels, self.augmentation, rng)

    def _join(self, indices: list[int], examples: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        return self._stack(examples), self._labels[indices]

    def _specs(self) -> tuple[ArraySpec, ArraySpec]:
        return ArraySpec("uint8", (None, self.preproc.height, self.preproc.width, 3)), ArraySpec("int32", (None,))


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
