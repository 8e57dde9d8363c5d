"""Makes batches for classification: images, and the index of the class of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import numpy as np

from cvserve.artifact.specs import PreprocSpec
from cvserve.data.augment.augment import flip_and_color
from cvserve.data.pipelines.base import ArraySpec, BatchPipeline, PipelineOptions
from cvserve.data.pipelines.cache import ImageCache
from cvserve.data.source import Dataset
from cvserve.errors import InvalidInput

if TYPE_CHECKING:
    import tensorflow as tf

# Keeps the random numbers apart from those of the other pipelines and of the order.
_IMAGE = 2


class ImagePipeline(BatchPipeline[Dataset, np.ndarray]):
    """Makes the batches of one split for classification: (uint8 [B, H, W, 3], int32 [B]).

    Order, cache, threads and images that cannot be used: see `BatchPipeline`.

    Args:
        source: the images and their labels.
        preproc: the geometry of the network's input.
        batch_size, ...: see `PipelineOptions`.

    Raises:
        InvalidInput: an option out of range, or no image of some class can be used.

    Example:
        pipeline = ImagePipeline(open_dataset("photos"), spec, batch_size=32, shuffle=True)
        for epoch in range(40):
            for images, labels in pipeline.batches(epoch):
                ...
    """

    def __init__(self, source: Dataset, preproc: PreprocSpec, **options: Unpack[PipelineOptions]) -> None:
        super().__init__(source, preproc, log=__name__, **options)

    def batch(self, epoch: int, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns images as this epoch shows them, uint8 RGB [B, H, W, 3], and their labels, int32 [B].

        Raises:
            ImageError: none of them can be read.
        """
        images, labels = self._batch(epoch, indices)[1]
        return images, labels

    def _open_cache(self, limit: int) -> ImageCache:
        self._cache = ImageCache(self.source, self.preproc, self.augmentation, limit)
        return self._cache

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
    source: Dataset, preproc: PreprocSpec, *, epoch: int = 0, **options: Unpack[PipelineOptions]
) -> tf.data.Dataset:
    """Returns one epoch as a tf.data.Dataset; for several epochs make one `ImagePipeline`, which keeps its cache."""
    return ImagePipeline(source, preproc, **options).epoch(epoch)
