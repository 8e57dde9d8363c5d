"""Images with label maps on their way into batches, at the size that augmentation needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from cvserve.artifact.specs import PreprocSpec
from cvserve.data.augment.augment import Augmentation
from cvserve.data.augment.placement import SizedImage
from cvserve.data.augment.random_placement import largest_scale
from cvserve.data.masks import SegmentationSource, labels_in_input
from cvserve.data.pipelines.cache import Cache
from cvserve.data.pipelines.sized import decode_sized, read_image, upright_size
from cvserve.data.readers.masked import MaskedSplit
from cvserve.data.readers.problems import BadImage
from cvserve.errors import ImageError
from cvserve.preproc import Geometry, preprocess
from cvserve.preproc.geometry import plan


@dataclass(frozen=True)
class MaskedImage:
    """An image, which may have been shrunk, and its labels, uint8 [h, w] of the size of its pixels."""

    image: SizedImage
    labels: np.ndarray

    @property
    def nbytes(self) -> int:
        """Bytes of the pixels and labels."""
        return self.image.nbytes + self.labels.nbytes


class MaskedImageCache(Cache[MaskedImage]):
    """Images with their geometry and label maps.

    Where augmentation does not move anything, the pixels are those of `preproc.preprocess`. Otherwise they are decoded
    images, shrunk where they are much larger than they are ever shown. Label maps are brought to the same size.
    """

    def __init__(self, dataset: SegmentationSource, spec: PreprocSpec, augmentation: Augmentation, limit: int) -> None:
        super().__init__(dataset, limit)
        self._source = dataset
        self._spec = spec
        self._augmentation = augmentation

    def geometry(self, index: int) -> Geometry:
        """From the upright original to the network's input, as in serving.

        Raises:
            ImageError: the image cannot be read.
        """
        kept = self._kept.get(index)
        if kept is not None:
            size = kept.image.geometry.original_width, kept.image.geometry.original_height
        else:
            size = upright_size(read_image(self._source, index), self._source.name(index))
        return plan(*size, self._spec).geometry(*size)

    def kept_labels(self) -> Iterable[np.ndarray]:
        """The label maps that are in memory."""
        return (item.labels for item in self._kept.values())

    def _verify(self, indices: range, workers: int) -> tuple[BadImage, ...]:
        if isinstance(self._source, MaskedSplit):
            return self._source.verify(indices, workers=workers)
        return super()._verify(indices, workers)

    def _load(self, index: int) -> MaskedImage:
        data, name = read_image(self._source, index), self._source.name(index)
        size = upright_size(data, name)
        labels = self._source.mask(index)
        if labels.shape != size[::-1]:
            raise ImageError(
                name, f"is {size[0]} x {size[1]} pixels upright, its mask {labels.shape[1]} x {labels.shape[0]}"
            )
        if self._augmentation.moves:
            scale_x, scale_y = largest_scale(*size, self._spec, self._augmentation)
            image = decode_sized(data, name, size, min(1.0, max(scale_x, scale_y)))
        else:
            image = SizedImage(*preprocess(data, self._spec, name=name))
        if image.pixels.shape[:2] == labels.shape and image.geometry == Geometry(*size):
            return MaskedImage(image, labels)
        return MaskedImage(image, labels_in_input(labels, image.geometry, *image.pixels.shape[:2]))
