"""Images with label maps to batches: as `ImagePipeline`, with labels that move with the pixels."""

from __future__ import annotations

import numpy as np

from cvserve.artifact.specs import PreprocSpec
from cvserve.data.augment.augment import Augmentation
from cvserve.data.augment.masks import Example, augment_masked
from cvserve.data.augment.random_placement import recolored
from cvserve.data.masks import VOID, SegmentationSource
from cvserve.data.pipelines.base import CACHE_BYTES, ArraySpec, BatchPipeline
from cvserve.data.pipelines.masked_cache import MaskedImageCache
from cvserve.errors import InvalidInput
from cvserve.preproc import Geometry

# Apart from the draws of the other pipelines and of the order.
_SEGMENTATION = 4


class SegmentationPipeline(BatchPipeline[SegmentationSource, Example]):
    """The batches of one split for semantic segmentation: (uint8 [B, H, W, 3], uint8 [B, H, W]).

    Labels are indices into the classes, or `VOID` (255) for pixels without one and for padding. Order, cache, threads
    and images that cannot be used are as in `ImagePipeline`; an image whose mask is missing, damaged or of another
    size cannot be used.

    Args:
        augmentation: None shows images as `preproc.preprocess` gives them, byte for byte. There are no mosaics.

    Raises:
        InvalidInput: an option out of range, a mask with a label that is none of the classes, or a training split, all
            of it in memory, without any labelled pixel.
    """

    def __init__(
        self,
        source: SegmentationSource,
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
        self.augmentation = (augmentation or Augmentation.none()).model_copy(update={"mosaic": 0.0})
        self._cache = MaskedImageCache(source, preproc, self.augmentation, cache_bytes)
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

    def geometry(self, index: int) -> Geometry:
        """From the upright original of an image to the network's input, as in serving.

        Raises:
            ImageError: the image cannot be read.
        """
        return self._cache.geometry(index)

    def mask(self, index: int) -> np.ndarray:
        """uint8 [H, W]: the label map of the original, read anew.

        Raises:
            ImageError: it cannot be read.
        """
        return self.source.mask(index)

    def batch(self, epoch: int, indices: np.ndarray) -> Example:
        """Images as this epoch shows them, uint8 RGB [B, H, W, 3], and their labels, uint8 [B, H, W].

        Raises:
            ImageError: not one of them can be read.
        """
        images, labels = self._batch(epoch, indices)[1]
        return images, labels

    def _read_targets(self) -> None:
        if self.source.split != "train" or len(self._cache) < len(self):
            return
        seen = np.zeros(VOID + 1, bool)
        for labels in self._cache.kept_labels():
            seen |= np.bincount(labels.reshape(-1), minlength=VOID + 1) > 0
        if not seen[:VOID].any():
            raise InvalidInput(f"train: not one of the {len(self)} images that can be used has a labelled pixel")
        missing = [name for label, name in enumerate(self.source.classes) if not seen[label]]
        if missing:
            shown = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
            self._log.warning("train: no image that can be used has a pixel of class %s", shown)

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
