"""Draws the masks of objects, each in the colour of its class, with an edge between neighbours."""

from __future__ import annotations

from collections import Counter

import cv2
import numpy as np

from cvserve.postproc.drawing.canvas import letter_size
from cvserve.postproc.drawing.colors import color_of
from cvserve.postproc.object_masks import ObjectMasks
from cvserve.postproc.results import DetectionResult
from cvserve.postproc.text import draw_table

OPACITY = 0.5
_LETTERS_A_SHORT_SIDE = 30
_LINES_A_SHORT_SIDE = 400


def draw_instances(image: np.ndarray, result: DetectionResult, masks: ObjectMasks, factor: int) -> None:
    """Fills the objects in place. The first ones are drawn last and cover the others.

    Args:
        image: uint8 RGB [H * factor, W * factor, 3], C-contiguous.
        factor: how many times each pixel of the image is repeated each way.
    """
    thickness = max(1, round(min(image.shape[:2]) / _LINES_A_SHORT_SIDE))
    for place in reversed(range(len(masks))):
        left, top, crop = masks.crop(place)
        if not crop.size:
            continue
        # Edges are drawn on the outermost pixels, also at the border of the crop.
        inside = crop.astype(np.uint8).repeat(factor, axis=0).repeat(factor, axis=1)
        height, width = inside.shape
        part = image[top * factor : top * factor + height, left * factor : left * factor + width]
        color = color_of(int(result.indexes[place]))
        mixed = cv2.addWeighted(part, 1 - OPACITY, np.full_like(part, color), OPACITY, 0)
        kernel = np.ones((2 * thickness + 1, 2 * thickness + 1), np.uint8)
        inner = cv2.erode(inside, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
        mixed[(inside > 0) & (inner == 0)] = color
        part[inside > 0] = mixed[inside > 0]


def draw_counts(image: np.ndarray, result: DetectionResult) -> None:
    """Draws a legend in the top left corner: colour and number of each class, the most frequent first."""
    counts = sorted(Counter(result.indexes.tolist()).items(), key=lambda item: (-item[1], item[0]))
    draw_table(
        image,
        [(str(count), result.names[index]) for index, count in counts],
        letter_size(image, _LETTERS_A_SHORT_SIDE),
        [color_of(index) for index, _ in counts],
    )
