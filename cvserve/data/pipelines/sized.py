"""Images decoded at the size that augmentation needs, with the geometry from their originals."""

from __future__ import annotations

import math

import numpy as np

from cvserve.artifact.specs import PreprocSpec
from cvserve.data.augment.placement import SizedImage
from cvserve.data.pipelines.cache import MUCH_LARGER
from cvserve.data.source import Source
from cvserve.preproc import Geometry, decode, read_header, resize_to
from cvserve.preproc.source import read_file

_LARGEST_SIDE = 8192


def read_image(source: Source, index: int) -> np.ndarray | bytes:
    """An image's pixels, or the bytes of its file.

    Raises:
        ImageError: it cannot be read.
    """
    image = source.image(index)
    return image if isinstance(image, np.ndarray | bytes) else read_file(image, source.name(index))


def upright_size(data: np.ndarray | bytes, name: str) -> tuple[int, int]:
    """(width, height) of the upright image."""
    if isinstance(data, np.ndarray):
        return data.shape[1], data.shape[0]
    return read_header(data, name=name).size


def decode_sized(data: np.ndarray | bytes, name: str, size: tuple[int, int], scale: float) -> SizedImage:
    """An image, shrunk where `scale` of its size would be much smaller."""
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
    return SizedImage(image, Geometry(*size, scale_x, scale_y))
