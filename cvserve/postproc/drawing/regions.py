"""Draws class maps on an image, each class in its colour, and a legend."""

from __future__ import annotations

import cv2
import numpy as np

from cvserve.postproc.drawing.canvas import letter_size
from cvserve.postproc.drawing.colors import Color, color_of
from cvserve.postproc.results import SegmentationResult
from cvserve.postproc.text import draw_table

OPACITY = 0.55
"""Opacity of the colours: enough to tell classes apart, little enough to see the image below."""

_LETTERS_A_SHORT_SIDE = 30


def colors_of(result: SegmentationResult) -> tuple[Color, ...]:
    """Returns the RGB of each class: the result's own, or the colours of boxes of these classes."""
    return result.colors or tuple(color_of(index) for index in range(len(result.names)))


def draw_regions(image: np.ndarray, result: SegmentationResult, factor: int) -> None:
    """Colours the image in place, and writes a legend of the classes that there are into its top left corner.

    The legend has a line a class with its colour, its share of the image and its name, the largest first; lines that
    do not fit are left out.

    Args:
        image: uint8 RGB [H * factor, W * factor, 3], C-contiguous.
        factor: how many times each pixel of the image is repeated each way.
    """
    colors = colors_of(result)
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colors)] = colors
    class_map = result.class_map
    if factor > 1:
        class_map = cv2.resize(class_map, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    # Row by row: a colour image of the whole would need three more bytes a pixel.
    rows = max(1, (1 << 20) // image.shape[1])
    for top in range(0, len(image), rows):
        part = image[top : top + rows]
        cv2.addWeighted(palette[class_map[top : top + rows]], OPACITY, part, 1 - OPACITY, 0, dst=part)
    classes = result.classes
    if classes:
        draw_table(
            image,
            [(f"{item.coverage:.1%}", item.label) for item in classes],
            letter_size(image, _LETTERS_A_SHORT_SIDE),
            [colors[item.index] for item in classes],
        )
