"""Results drawn onto their pictures."""

from __future__ import annotations

import cv2
import numpy as np

from cvserve.errors import InvalidInput, Unimplemented
from cvserve.postproc.results import ClassificationResult, Result
from cvserve.postproc.text import draw_table

# Below 256 pixels no five rows of readable letters fit.
_SMALLEST_LONG_SIDE = 256
_SMALLEST_LETTERS = 12
_LETTERS_A_SHORT_SIDE = 24
_MOST_ROWS = 5


def draw(image: np.ndarray, result: Result) -> np.ndarray:
    """A copy of the picture with the result drawn on it.

    Classification: the five best classes and their scores in the top left corner. Letters grow with the picture;
    a picture with a long side below 256 pixels is enlarged by a whole factor, so that they can be read.

    Args:
        image: uint8 RGB [H, W, 3], upright, in its original size.

    Returns:
        uint8 RGB [H, W, 3], or [H * n, W * n, 3] for a small picture.

    Raises:
        InvalidInput: the picture has another dtype or shape.
        Unimplemented: a result that this version cannot draw.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise InvalidInput(f"a picture to draw on must be uint8 RGB [H, W, 3], not {image.dtype} {list(image.shape)}")
    if not isinstance(result, ClassificationResult):
        raise Unimplemented(f"results of {result.task} cannot be drawn by this version")
    canvas = _readable_copy(image)
    if result.classes:
        rows = [(f"{item.score:.1%}", item.label) for item in result.classes[:_MOST_ROWS]]
        draw_table(canvas, rows, max(_SMALLEST_LETTERS, min(canvas.shape[:2]) // _LETTERS_A_SHORT_SIDE))
    return canvas


def _readable_copy(image: np.ndarray) -> np.ndarray:
    factor = -(-_SMALLEST_LONG_SIDE // max(image.shape[:2]))
    if factor == 1:
        return np.array(image, order="C")
    size = (image.shape[1] * factor, image.shape[0] * factor)
    return cv2.resize(image, size, interpolation=cv2.INTER_NEAREST)
