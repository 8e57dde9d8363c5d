"""Caches images at the size that augmentation needs, with the geometry from their originals."""

from __future__ import annotations

import math
from typing import Protocol, TypeVar

import numpy as np

from cvserve.artifact.specs import PreprocSpec
from cvserve.data.augment.augment import Augmentation
from cvserve.data.augment.placement import SizedImage
from cvserve.data.augment.random_placement import largest_scale
from cvserve.data.pipelines.cache import MUCH_LARGER, Cache, Sized
from cvserve.data.source import Source
from cvserve.preproc import Geometry, decode, preprocess, read_header, resize_to
from cvserve.preproc.geometry import plan
from cvserve.preproc.source import read_file

_LARGEST_SIDE = 8192


class WithGeometry(Sized, Protocol):
    """Defines an item of a cache with the geometry from the original image to its pixels."""

    @property
    def geometry(self) -> Geometry:
        """Returns the geometry from the upright original to the pixels."""


Item = TypeVar("Item", bound=WithGeometry)


class SizedImageCache(Cache[Item]):
    """Caches images with their geometry, and what belongs to them.

    Where augmentation does not move anything, the pixels are those of `preproc.preprocess`. Otherwise they are decoded
    images, shrunk where they are much larger than they are ever shown.
    """

    def __init__(self, dataset: Source, spec: PreprocSpec, augmentation: Augmentation, limit: int) -> None:
        super().__init__(dataset, limit)
        self._spec = spec
        self._augmentation = augmentation

    def geometry(self, index: int) -> Geometry:
        """Returns the geometry from the upright original to the network's input, as in serving.

        Raises:
            ImageError: the image cannot be read.
        """
        cached = self._cached.get(index)
        if cached is not None:
            size = cached.geometry.original_width, cached.geometry.original_height
        else:
            size = self._read(index)[2]
        return plan(*size, self._spec).geometry(*size)

    def _read(self, index: int) -> tuple[np.ndarray | bytes, str, tuple[int, int]]:
        """Returns an image's pixels or the bytes of its file, its name, and (width, height) of the upright image."""
        data, name = read_image(self._dataset, index), self._dataset.name(index)
        return data, name, upright_size(data, name)

    def _sized(self, data: np.ndarray | bytes, name: str, size: tuple[int, int]) -> SizedImage:
        if not self._augmentation.moves:
            return SizedImage(*preprocess(data, self._spec, name=name))
        scale_x, scale_y = largest_scale(*size, self._spec, self._augmentation)
        return decode_sized(data, name, size, min(1.0, max(scale_x, scale_y)))


def read_image(source: Source, index: int) -> np.ndarray | bytes:
    """Returns an image's pixels, or the bytes of its file.

    Raises:
        ImageError: it cannot be read.
    """
    image = source.image(index)
    return image if isinstance(image, np.ndarray | bytes) else read_file(image, source.name(index))


def upright_size(data: np.ndarray | bytes, name: str) -> tuple[int, int]:
    """Returns (width, height) of the upright image."""
    if isinstance(data, np.ndarray):
        return data.shape[1], data.shape[0]
    return read_header(data, name=name).size


def decode_sized(data: np.ndarray | bytes, name: str, size: tuple[int, int], scale: float) -> SizedImage:
    """Decodes an image, and shrinks it where `scale` of its size would be much smaller.

    Args:
        data: pixels, or the bytes of a file. size: (width, height) of the upright image.
    """
    width, height = (min(_LARGEST_SIDE, max(1, math.ceil(side * scale))) for side in size)
    image = decode(data, name=name, reduce_for=PreprocSpec(height=height, width=width, resize="exact"))
    # A JPEG decoded at a half, a quarter or an eighth has a fraction of a pixel too much at its end.
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
    return SizedImage(image, Geometry(*size, scale_x, scale_y))
