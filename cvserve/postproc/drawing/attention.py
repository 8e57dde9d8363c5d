"""Draws where a captioning network looked at each word."""

from __future__ import annotations

import cv2
import numpy as np

from cvserve.postproc.drawing.canvas import letter_size
from cvserve.postproc.results import Attention
from cvserve.postproc.text import draw_table, drawable

_NARROWEST = 120
"""Least width of a panel in pixels, so that its word can be read."""

_MOST_COLUMNS = 6
_GAP = 2
_DARKEST = 0.2
"""Share of the brightness that stays where the network did not look."""

_LETTERS_A_SHORT_SIDE = 10


def draw_attention(image: np.ndarray, original: np.ndarray, attention: Attention) -> np.ndarray:
    """Returns the image, and below it a panel a word: the image, dark where the network did not look at that word.

    Args:
        image: uint8 RGB [H, W, 3], what stands at the top.
        original: uint8 RGB [h, w, 3], the original.
        attention: of that original, in its pixels.

    Returns:
        uint8 RGB [more than H, W, 3].
    """
    width = image.shape[1]
    columns = min(max(width // _NARROWEST, 1), _MOST_COLUMNS)
    across = (width - _GAP * (columns - 1)) // columns
    down = max(round(across * original.shape[0] / original.shape[1]), 1)
    small = cv2.resize(original, (across, down), interpolation=cv2.INTER_AREA)
    rows = -(-len(attention.words) // columns)
    sheet = np.zeros((image.shape[0] + rows * (down + _GAP), width, 3), np.uint8)
    sheet[: image.shape[0]] = image
    for number, (word, seen) in enumerate(zip(attention.words, attention.maps, strict=True)):
        row, column = divmod(number, columns)
        top = image.shape[0] + _GAP + row * (down + _GAP)
        left = column * (across + _GAP)
        sheet[top : top + down, left : left + across] = _panel(small, word, seen, attention, across / original.shape[1])
    return sheet


def _panel(small: np.ndarray, word: str, seen: np.ndarray, attention: Attention, scale: float) -> np.ndarray:
    light = _placed(seen / max(float(seen.max(initial=0)), 1e-9), attention, scale, small.shape[:2])
    panel = np.ascontiguousarray((small * (_DARKEST + (1 - _DARKEST) * light[..., None])).astype(np.uint8))
    draw_table(panel, [("", drawable(word))], letter_size(panel, _LETTERS_A_SHORT_SIDE))
    return panel


def _placed(seen: np.ndarray, attention: Attention, scale: float, size: tuple[int, int]) -> np.ndarray:
    """Returns the map [rows, columns] on a panel [size], interpolated between the centres of its cells."""
    left, top, right, bottom = (edge * scale for edge in attention.box)
    wide, tall = (right - left) / seen.shape[1], (bottom - top) / seen.shape[0]
    # Both images have the centres of their pixels at whole numbers.
    matrix = np.array([[wide, 0, left + wide / 2 - 0.5], [0, tall, top + tall / 2 - 0.5]])
    placed = cv2.warpAffine(
        seen.astype(np.float32), matrix, size[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.clip(placed, 0, 1)
