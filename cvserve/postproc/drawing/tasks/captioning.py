"""Draws the best sentence, and where the network looked at each word if the result has that."""

from __future__ import annotations

import numpy as np

from cvserve.postproc.drawing.attention import draw_attention
from cvserve.postproc.drawing.canvas import letter_size, readable_copy
from cvserve.postproc.results import CaptionResult
from cvserve.postproc.text import draw_table, drawable
from cvserve.postproc.wrapping import wrapped

_MAX_ROWS = 5


def _draw(image: np.ndarray, result: CaptionResult) -> np.ndarray:
    canvas, _ = readable_copy(image)
    size = letter_size(canvas, 24)
    lines = wrapped(drawable(result.best.text), size, canvas.shape[1] - 3 * size, _MAX_ROWS)
    if lines:
        draw_table(canvas, [("", line) for line in lines], size)
    return canvas if result.attention is None else draw_attention(canvas, image, result.attention)


DRAWING = _draw
