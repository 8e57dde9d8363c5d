"""Draws each class in its colour, and a legend."""

from __future__ import annotations

import numpy as np

from cvserve.postproc.drawing.canvas import readable_copy_of
from cvserve.postproc.drawing.regions import draw_regions
from cvserve.postproc.results import EncodedSegmentation, SegmentationResult


def _draw(image: np.ndarray, result: SegmentationResult | EncodedSegmentation) -> np.ndarray:
    if isinstance(result, EncodedSegmentation):
        result = result.decode()
    canvas, factor = readable_copy_of(image, result.image_width, result.image_height)
    draw_regions(canvas, result, factor)
    return canvas


DRAWING = _draw
