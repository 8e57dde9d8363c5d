"""Draws results onto their images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cvserve.errors import InvalidInput, Unimplemented
from cvserve.postproc.drawing.attention import draw_attention
from cvserve.postproc.drawing.boxes import Caption, draw_boxes
from cvserve.postproc.drawing.canvas import letter_size, readable_copy
from cvserve.postproc.drawing.colors import color_of
from cvserve.postproc.drawing.regions import draw_regions
from cvserve.postproc.results import Result
from cvserve.tasks import TaskTable

__all__ = [
    "DRAWINGS",
    "Caption",
    "color_of",
    "draw",
    "draw_attention",
    "draw_boxes",
    "draw_regions",
    "letter_size",
    "readable_copy",
]

DRAWINGS: TaskTable[Callable[[np.ndarray, Any], np.ndarray]] = TaskTable(
    "cvserve.postproc.drawing.tasks", "DRAWING", what="drawing"
)
"""By task: takes a checked image and a result, and returns what `draw` returns."""


def draw(image: np.ndarray, result: Result) -> np.ndarray:
    """Returns a copy of the image with the result drawn on it.

    Classification: the five best classes and their scores in the top left corner. Detection: a box around each object
    in the colour of its class, with class and score on it, the best on top; objects with masks are filled with it, and
    a legend says how many there are of each class. Segmentation: each class in its colour, and a legend with its share
    of the image. Captioning: the best sentence at the top, and where the result has attention, a panel a word below
    the image, bright where the network looked. Letters and lines grow with the image; an image with a long side
    below 256 pixels is enlarged by a whole factor, so that they can be read.

    Args:
        image: uint8 RGB [H, W, 3], upright, in its original size.

    Returns:
        uint8 RGB [H, W, 3], or [H * n, W * n, 3] for a small image; higher where there are panels.

    Raises:
        InvalidInput: the image has another dtype or shape, or is not the one that the result is of.
        Unimplemented: a result that this version cannot draw.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise InvalidInput(f"an image to draw on must be uint8 RGB [H, W, 3], not {image.dtype} {list(image.shape)}")
    if result.task not in DRAWINGS:
        raise Unimplemented(f"results of {result.task} cannot be drawn by this version")
    return DRAWINGS[result.task](image, result)
