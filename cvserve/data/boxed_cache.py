"""Pictures with objects on their way into batches, at the size that augmentation needs."""

from __future__ import annotations

import math

import numpy as np

from cvserve.artifact.specs import PreprocSpec
from cvserve.data.annotated import AnnotatedSplit
from cvserve.data.augment import Augmentation
from cvserve.data.augment_boxes import largest_scale
from cvserve.data.cache import MUCH_LARGER, Cache
from cvserve.data.objects import DetectionSource, Objects
from cvserve.data.placement import SizedPicture
from cvserve.errors import ImageError
from cvserve.preproc import Geometry, ImageSource, decode, preprocess, read_header, resize_to
from cvserve.preproc.geometry import plan
from cvserve.preproc.source import read_file

_LARGEST_SIDE = 8192


class BoxedPictureCache(Cache[SizedPicture]):
    """Pictures with their geometry, and their objects.

    Where augmentation does not move anything, the pixels are those of `preproc.preprocess`. Otherwise they are decoded
    pictures, shrunk where they are much larger than they are ever shown.
    """

    def __init__(self, dataset: DetectionSource, spec: PreprocSpec, augmentation: Augmentation, limit: int) -> None:
        super().__init__(dataset, limit)
        self._source = dataset
        self._spec = spec
        self._augmentation = augmentation
        self._objects: dict[int, Objects] = {}

    def objects(self, index: int) -> Objects:
        """What is in the picture, in pixels of the original."""
        found = self._objects.get(index)
        if found is None:
            found = self._objects[index] = self._source.objects(index)
        return found

    def geometry(self, index: int) -> Geometry:
        """From the upright original to the network's input, as in serving.

        Raises:
            ImageError: the picture cannot be read.
        """
        kept = self._kept.get(index)
        if kept is not None:
            size = kept.geometry.original_width, kept.geometry.original_height
        else:
            size = _size(self._read(index), self._source.name(index))
        return plan(*size, self._spec).geometry(*size)

    def _read(self, index: int) -> np.ndarray | bytes:
        source: ImageSource = self._source.image(index)
        return source if isinstance(source, np.ndarray | bytes) else read_file(source, self._source.name(index))

    def _load(self, index: int) -> SizedPicture:
        data, name = self._read(index), self._source.name(index)
        self.objects(index)
        size = _size(data, name)
        stated = self._source.size(index) if isinstance(self._source, AnnotatedSplit) else None
        if stated is not None and stated != size:
            raise ImageError(
                name, f"is {size[0]} x {size[1]} pixels upright, but its annotations are of {stated[0]} x {stated[1]}"
            )
        if not self._augmentation.moves:
            return SizedPicture(*preprocess(data, self._spec, name=name))
        scale_x, scale_y = largest_scale(*size, self._spec, self._augmentation)
        return _decode(data, name, size, min(1.0, max(scale_x, scale_y)))


def _size(data: np.ndarray | bytes, name: str) -> tuple[int, int]:
    """(width, height) of the upright picture."""
    if isinstance(data, np.ndarray):
        return data.shape[1], data.shape[0]
    return read_header(data, name=name).size


def _decode(data: np.ndarray | bytes, name: str, size: tuple[int, int], scale: float) -> SizedPicture:
    """A picture, shrunk where `scale` of its size would be much smaller."""
    width, height = (min(_LARGEST_SIDE, max(1, math.ceil(side * scale))) for side in size)
    image = decode(data, name=name, reduce_for=PreprocSpec(height=height, width=width, resize="exact"))
    # A JPEG decoded at a half, ... has the fraction of a pixel too much at its end.
    reduction = max(1, round(size[0] / image.shape[1]))
    scale_x = scale_y = 1 / reduction
    if scale * reduction * MUCH_LARGER < 1:
        shrunk = resize_to(
            image,
            max(1, round(image.shape[1] * reduction * scale)),
            max(1, round(image.shape[0] * reduction * scale)),
        )
        scale_x *= shrunk.shape[1] / image.shape[1]
        scale_y *= shrunk.shape[0] / image.shape[0]
        image = shrunk
    return SizedPicture(image, Geometry(*size, scale_x, scale_y))
