"""Draws boxes with captions on an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cvserve.postproc.drawing.canvas import letter_size
from cvserve.postproc.drawing.colors import Color, text_color_on
from cvserve.postproc.text import drawable, shortened, text_width, write

_LINES_A_SHORT_SIDE = 250
_LETTERS_A_SHORT_SIDE = 34


@dataclass(frozen=True)
class Caption:
    """Holds the caption of a box. text: on the box, "" for none. colour: of its lines. bold: lines twice as thick."""

    text: str
    color: Color
    bold: bool = False


def draw_boxes(image: np.ndarray, boxes: np.ndarray, captions: Sequence[Caption]) -> None:
    """Draws boxes onto the image in place, the first ones last, so that nothing lies on them.

    Lines and letters grow with the image, and all of them stay inside of it.

    Args:
        image: uint8 RGB [H, W, 3], C-contiguous.
        boxes: float [N, 4] x1, y1, x2, y2 in pixels of the image.
        captions: N of them.
    """
    thickness = max(2, round(min(image.shape[:2]) / _LINES_A_SHORT_SIDE))
    size = letter_size(image, _LETTERS_A_SHORT_SIDE)
    placed = list(zip(np.rint(boxes).astype(int).tolist(), captions, strict=True))
    for box, caption in reversed(placed):
        _frame(image, box, caption.color, thickness * (2 if caption.bold else 1))
    plates: list[_Plate] = []
    for box, caption in placed:
        if caption.text:
            plates.append(_place(image.shape[1], image.shape[0], box, caption, size, plates))
    for plate in reversed(plates):
        image[plate.top : plate.bottom, plate.left : plate.right] = plate.color
        # Descenders take about a fifth of the letters' size.
        at = (plate.left + plate.margin, plate.top + plate.margin + round(size * 0.85))
        write(image, plate.text, at, size, text_color_on(plate.color))


def _frame(image: np.ndarray, box: list[int], color: Color, thickness: int) -> None:
    """Draws a frame. Half of each line lies outside of the box, except at the border of the image."""
    height, width = image.shape[:2]
    left, right = _span(box[0], box[2], width, thickness)
    top, bottom = _span(box[1], box[3], height, thickness)
    image[top : top + thickness, left:right] = color
    image[max(bottom - thickness, 0) : bottom, left:right] = color
    image[top:bottom, left : left + thickness] = color
    image[top:bottom, max(right - thickness, 0) : right] = color


def _span(low: int, high: int, limit: int, thickness: int) -> tuple[int, int]:
    """Returns the outer ends of a frame along one axis, inside 0 to limit, at least one pixel apart."""
    start = min(max(low - thickness // 2, 0), limit - 1)
    return start, max(min(high + thickness // 2, limit), start + 1)


@dataclass(frozen=True)
class _Plate:
    """Holds a caption and where it is drawn."""

    text: str
    color: Color
    margin: int
    left: int
    top: int
    right: int
    bottom: int

    def meets(self, other: _Plate) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )


def _place(width: int, height: int, box: list[int], caption: Caption, size: int, others: Sequence[_Plate]) -> _Plate:
    """Places the caption above its box, inside its top or below it: the first that has room beside other captions."""
    margin = max(2, size // 4)
    text = shortened(drawable(caption.text), size, width - 2 * margin)
    tall, wide = min(size + 2 * margin, height), min(text_width(text, size) + 2 * margin, width)
    left = min(max(box[0], 0), width - wide)

    def at(top: int) -> _Plate:
        return _Plate(text, caption.color, margin, left, top, left + wide, top + tall)

    inside = at(min(max(box[1], 0), height - tall))
    plates = [at(box[1] - tall), inside, at(box[3])]
    there = [plate for plate in plates if plate.top >= 0 and plate.bottom <= height]
    return next((plate for plate in there if not any(map(plate.meets, others))), there[0])
