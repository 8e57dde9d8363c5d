"""Results drawn onto their images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cvserve.errors import InvalidInput, Unimplemented
from cvserve.postproc.drawing.attention import draw_attention
from cvserve.postproc.drawing.boxes import Caption, draw_boxes
from cvserve.postproc.drawing.canvas import letter_size, readable_copy
from cvserve.postproc.drawing.colors import color_of
from cvserve.postproc.drawing.instances import draw_counts, draw_instances
from cvserve.postproc.drawing.regions import draw_regions
from cvserve.postproc.results import (
    CaptionResult,
    ClassificationResult,
    DetectionResult,
    Result,
    SegmentationResult,
)
from cvserve.postproc.text import draw_table, drawable
from cvserve.postproc.wrapping import wrapped

__all__ = [
    "Caption",
    "color_of",
    "draw",
    "draw_attention",
    "draw_boxes",
    "draw_regions",
    "letter_size",
    "readable_copy",
]

_MOST_ROWS = 5


def draw(image: np.ndarray, result: Result) -> np.ndarray:
    """A copy of the image with the result drawn on it.

    Classification: the five best classes and their scores in the top left corner. Detection: a box around each object
    in the colour of its class, with class and score on it, the best on top; objects with masks are filled with it, and
    a legend says how many there are of each class. Segmentation: each class in its colour, and a legend with its share
    of the image. Captioning: the best sentence at the top, and where the result tells attention, a panel a word below
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
    for kind, draw_result in _DRAWN.items():
        if isinstance(result, kind):
            return draw_result(image, result)
    raise Unimplemented(f"results of {result.task} cannot be drawn by this version")


def _classes(image: np.ndarray, result: ClassificationResult) -> np.ndarray:
    canvas, _ = readable_copy(image)
    if result.classes:
        rows = [(f"{item.score:.1%}", item.label) for item in result.classes[:_MOST_ROWS]]
        draw_table(canvas, rows, letter_size(canvas, 24))
    return canvas


def _caption(image: np.ndarray, result: CaptionResult) -> np.ndarray:
    canvas, _ = readable_copy(image)
    size = letter_size(canvas, 24)
    lines = wrapped(drawable(result.best.text), size, canvas.shape[1] - 3 * size, _MOST_ROWS)
    if lines:
        draw_table(canvas, [("", line) for line in lines], size)
    return canvas if result.attention is None else draw_attention(canvas, image, result.attention)


def _objects(image: np.ndarray, result: DetectionResult) -> np.ndarray:
    canvas, factor = _canvas_of(image, result)
    captions = [Caption(f"{item.label} {item.score:.2f}", color_of(item.index)) for item in result]
    if result.masks is not None:
        draw_instances(canvas, result, result.masks, factor)
    draw_boxes(canvas, result.boxes * factor, captions)
    if result.masks is not None and len(result):
        draw_counts(canvas, result)
    return canvas


def _regions(image: np.ndarray, result: SegmentationResult) -> np.ndarray:
    canvas, factor = _canvas_of(image, result)
    draw_regions(canvas, result, factor)
    return canvas


def _canvas_of(image: np.ndarray, result: DetectionResult | SegmentationResult) -> tuple[np.ndarray, int]:
    if image.shape[:2] != (result.image_height, result.image_width):
        raise InvalidInput(
            f"the image has {image.shape[1]} x {image.shape[0]} pixels, but the result is of one with "
            f"{result.image_width} x {result.image_height}"
        )
    return readable_copy(image)


_DRAWN: dict[type, Callable[[np.ndarray, Any], np.ndarray]] = {
    CaptionResult: _caption,
    ClassificationResult: _classes,
    DetectionResult: _objects,
    SegmentationResult: _regions,
}
