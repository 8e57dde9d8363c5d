"""Makes batches for segmentation: images, and label maps that move with the pixels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Unpack

import numpy as np

from cvserve.artifact.specs import PreprocSpec
from cvserve.data.augment.augment import Augmentation
from cvserve.data.augment.masks import Example, MaskedImage, augment_masked
from cvserve.data.augment.random_placement import recolored
from cvserve.data.masks import VOID, labels_in_input
from cvserve.data.pipelines.base import ArraySpec, BatchPipeline, PipelineOptions
from cvserve.data.pipelines.sized_cache import SizedImageCache
from cvserve.data.problems import few_names
from cvserve.data.source import SegmentationSource
from cvserve.errors import ImageError, InvalidInput
from cvserve.preproc import Geometry

# Keeps the random numbers apart from those of the other pipelines and of the order.
_SEGMENTATION = 4


class MaskedImageCache(SizedImageCache[MaskedImage]):
    """Caches images with their geometry and their label maps, which are brought to the size of the pixels."""

    def __init__(self, source: SegmentationSource, spec: PreprocSpec, augmentation: Augmentation, limit: int) -> None:
        super().__init__(source, spec, augmentation, limit)
        self._source = source

    def cached_labels(self) -> Iterable[np.ndarray]:
        """Yields the label maps that are in memory."""
        return (item.labels for item in self._cached.values())

    def _load(self, index: int) -> MaskedImage:
        data, name, size = self._read(index)
        labels = self._source.mask(index)
        if labels.shape != size[::-1]:
            raise ImageError(
                name, f"is {size[0]} x {size[1]} pixels upright, its mask {labels.shape[1]} x {labels.shape[0]}"
            )
        image = self._sized(data, name, size)
        if image.pixels.shape[:2] == labels.shape and image.geometry == Geometry(*size):
            return MaskedImage(image, labels)
        return MaskedImage(image, labels_in_input(labels, image.geometry, *image.pixels.shape[:2]))


class SegmentationPipeline(BatchPipeline[SegmentationSource, Example]):
    """Makes the batches of one split for semantic segmentation: (uint8 [B, H, W, 3], uint8 [B, H, W]).

    Labels are indices into the classes, or `VOID` (255) for pixels without one and for padding. Order, cache, threads
    and images that cannot be used: see `BatchPipeline`; an image whose mask is missing, damaged or of another size
    cannot be used either.

    Args:
        batch_size, ...: see `PipelineOptions`. There are no mosaics.

    Raises:
        InvalidInput: an option out of range, a mask with a label that is none of the classes, or a training split, all
            of it in memory, without any labelled pixel.
    """

    def __init__(self, source: SegmentationSource, preproc: PreprocSpec, **options: Unpack[PipelineOptions]) -> None:
        augmentation = options.get("augmentation") or Augmentation.none()
        options["augmentation"] = augmentation.model_copy(update={"mosaic": 0.0})
        super().__init__(source, preproc, log=__name__, **options)

    def geometry(self, index: int) -> Geometry:
        """Returns the geometry from the upright original of an image to the network's input, as in serving.

        Raises:
            ImageError: the image cannot be read.
        """
        return self._cache.geometry(index)

    def mask(self, index: int) -> np.ndarray:
        """Reads the label map of the original, uint8 [H, W].

        Raises:
            ImageError: it cannot be read.
        """
        return self.source.mask(index)

    def batch(self, epoch: int, indices: np.ndarray) -> Example:
        """Returns images as this epoch shows them, uint8 RGB [B, H, W, 3], and their labels, uint8 [B, H, W].

        Raises:
            ImageError: none of them can be read.
        """
        images, labels = self._batch(epoch, indices)[1]
        return images, labels

    def _open_cache(self, limit: int) -> MaskedImageCache:
        self._cache = MaskedImageCache(self.source, self.preproc, self.augmentation, limit)
        return self._cache

    def _read_targets(self) -> None:
        if self.source.split != "train" or len(self._cache) < len(self):
            return
        seen = np.zeros(VOID + 1, bool)
        for labels in self._cache.cached_labels():
            seen |= np.bincount(labels.reshape(-1), minlength=VOID + 1) > 0
        if not seen[:VOID].any():
            raise InvalidInput(f"train: not one of the {len(self)} images that can be used has a labelled pixel")
        missing = [name for label, name in enumerate(self.source.classes) if not seen[label]]
        if missing:
            self._log.warning("train: no image that can be used has a pixel of class %s", few_names(missing))

    def _example(self, epoch: int, index: int) -> Example:
        example = self._cache.get(index)
        rng = np.random.default_rng((self.seed, epoch, index, _SEGMENTATION))
        if self.augmentation.moves:
            return augment_masked(example, self.preproc, self.augmentation, rng)
        return recolored(example.image.pixels, self.augmentation, rng), example.labels

    def _join(self, indices: list[int], examples: list[Example]) -> Example:
        labels = np.empty((len(examples), self.preproc.height, self.preproc.width), np.uint8)
        for row, (_, own) in enumerate(examples):
            labels[row] = own
        return self._stack([pixels for pixels, _ in examples]), labels

    def _specs(self) -> tuple[ArraySpec, ArraySpec]:
        size = self.preproc.height, self.preproc.width
        return ArraySpec("uint8", (None, *size, 3)), ArraySpec("uint8", (None, *size))
