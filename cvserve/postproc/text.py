"""Draws text on images, in any script: OpenCV's built-in Unicode font on a dark plate."""

from __future__ import annotations

import functools
import threading
import unicodedata
from collections.abc import Sequence

import cv2
import numpy as np

_FONT = "sans"
_WEIGHT = 600
_SELECTORS = frozenset(map(chr, range(0xFE00, 0xFE10)))
# Under text a third of the image's brightness is left: enough to see it, little enough for white letters.
_DARKENED = 3

# OpenCV 5.0's fonts are not thread-safe: one shared by threads draws wrong letters.
_LOCK = threading.Lock()


def drawable(text: str) -> str:
    """Returns the text on one line, with the code point ("U+1F33C") of characters that the font lacks, such as emoji.

    OpenCV would draw a question mark for each of those, and crashes on half a surrogate pair.
    """
    text = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
    # Direction marks, joiners and variation selectors: invisible, and question marks to the font.
    text = "".join(char for char in text if unicodedata.category(char) not in ("Cc", "Cf") and char not in _SELECTORS)
    return "".join(char if char.isascii() or _has_glyph(char) else f"U+{ord(char):04X}" for char in text)


@functools.lru_cache(maxsize=4096)
def _has_glyph(char: str) -> bool:
    return not np.array_equal(_stamp(char), _stamp("?"))


def _stamp(char: str) -> np.ndarray:
    image = np.zeros((48, 64, 3), np.uint8)
    with _LOCK:
        cv2.putText(image, char, (8, 34), (255, 255, 255), cv2.FontFace(_FONT), 24, 400)
    return image


def text_width(text: str, size: int) -> int:
    """Returns the width of drawable text in pixels."""
    with _LOCK:
        _, _, width, _ = cv2.getTextSize((0, 0), text, (0, 0), cv2.FontFace(_FONT), size, _WEIGHT)
    return int(width)


def shortened(text: str, size: int, width: int) -> str:
    """Returns the text, or as much of its start as fits into `width` pixels with an ellipsis."""
    if text_width(text, size) <= width:
        return text
    fits, too_long = 0, len(text)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if text_width(text[:middle].rstrip() + "…", size) <= width:
            fits = middle
        else:
            too_long = middle
    return text[:fits].rstrip() + "…"


def draw_table(
    image: np.ndarray,
    rows: Sequence[tuple[str, str]],
    size: int,
    colors: Sequence[tuple[int, int, int]] = (),
) -> None:
    """Writes rows of (right-aligned, left-aligned) text into the top left corner, on a dark plate, in place.

    Rows that do not fit below each other are left out, all but the first; text too wide is shortened.

    Args:
        image: uint8 RGB [H, W, 3], C-contiguous.
        size: letter size in pixels.
        colours: of a square before each row; empty: there are none.
    """
    height, width = image.shape[:2]
    margin, pitch = max(2, size // 3), round(size * 1.3)
    rows = rows[: max(1, (height - margin) // pitch)]
    first_at = margin + (size + size // 2 if colors else 0)
    first = max(text_width(left, size) for left, _ in rows)
    second_at = first_at + first + size // 2
    room = width - second_at - margin
    cells = [(left, shortened(drawable(right), size, room)) for left, right in rows]
    right_edge = second_at + max(text_width(right, size) for _, right in cells) + margin
    bottom = min(height, pitch * len(rows) + margin)
    plate = image[:bottom, : min(width, right_edge)]
    np.floor_divide(plate, _DARKENED, out=plate)
    for index, (left, right) in enumerate(cells):
        baseline = margin + pitch * index + size
        if colors:
            # As high as a capital letter, which is about three quarters of the size.
            image[max(baseline - size * 3 // 4, 0) : baseline, margin : margin + size] = colors[index]
        write(image, left, (first_at + first - text_width(left, size), baseline), size)
        write(image, right, (second_at, baseline), size)


def write(
    image: np.ndarray, text: str, at: tuple[int, int], size: int, color: tuple[int, int, int] = (255, 255, 255)
) -> None:
    """Writes drawable text, its baseline starting at the pixel `at`, in place."""
    with _LOCK:
        cv2.putText(image, text, at, color, cv2.FontFace(_FONT), size, _WEIGHT, cv2.PUT_TEXT_ALIGN_LEFT)
