"""Draws the best classes of an image into its top left corner."""

from __future__ import annotations

import numpy as np

from cvserve.postproc.drawing.canvas import letter_size, readable_copy
from cvserve.postproc.results import ClassificationResult
from cvserve.postproc.text import draw_table

_MAX_ROWS = 5


def _draw(image: np.ndarray, result: ClassificationResult) -> np.ndarray:
    canvas, _ = readable_copy(image)
    if result.classes:
        rows = [(f"{item.score:.1%}", item.label) for item in result.classes[:_MAX_ROWS]]
        draw_table(canvas, rows, letter_size(canvas, 24))
    return canvas


DRAWING = _draw
