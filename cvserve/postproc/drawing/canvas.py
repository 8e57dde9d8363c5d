"""Copies images so that they are large enough to be written on."""

from __future__ import annotations

import cv2
import numpy as np

from cvserve.errors import InvalidInput

# Below 256 pixels no five rows of readable letters fit.
_SMALLEST_LONG_SIDE = 256
_SMALLEST_LETTERS = 12


def readable_copy(image: np.ndarray) -> tuple[np.ndarray, int]:
    """Returns a copy of uint8 RGB [H, W, 3], C-contiguous, each pixel repeated `factor` times each way; and factor.

    The factor is the smallest integer that makes the long side at least 256 pixels.
    """
    factor = -(-_SMALLEST_LONG_SIDE // max(image.shape[:2]))
    if factor == 1:
        return np.array(image, order="C"), 1
    size = (image.shape[1] * factor, image.shape[0] * factor)
    return cv2.resize(image, size, interpolation=cv2.INTER_NEAREST), factor


def letter_size(image: np.ndarray, share: int) -> int:
    """Returns the height of letters in pixels: one `share`-th of the short side, at least 12."""
    return max(_SMALLEST_LETTERS, min(image.shape[:2]) // share)


def readable_copy_of(image: np.ndarray, width: int, height: int) -> tuple[np.ndarray, int]:
    """Returns `readable_copy` of an image that has the size of the image of a result.

    Args:
        image: uint8 RGB [H, W, 3]. width, height: of the result's image, pixels.

    Raises:
        InvalidInput: the sizes differ.
    """
    if image.shape[:2] != (height, width):
        raise InvalidInput(
            f"the image has {image.shape[1]} x {image.shape[0]} pixels, but the result is of one with "
            f"{width} x {height}"
        )
    return readable_copy(image)
