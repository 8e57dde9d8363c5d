"""Handles label maps: the class of every pixel of an image."""

from __future__ import annotations

import numpy as np

from cvserve.preproc import Geometry

VOID = 255
"""The label of pixels that are neither learned nor scored, whatever a data set calls them."""


def labels_in_input(labels: np.ndarray, geometry: Geometry, height: int, width: int) -> np.ndarray:
    """Maps the label map of an original image to the network's input.

    Args:
        labels: uint8 [h, w]. geometry: from the original to the input.

    Returns:
        uint8 [height, width]: each pixel has the label of the original's pixel in which its centre lies, and `VOID`
        where that is padding.
    """
    rows, no_row = _source_pixels(labels.shape[0], geometry.scale_y, geometry.offset_y, height)
    columns, no_column = _source_pixels(labels.shape[1], geometry.scale_x, geometry.offset_x, width)
    mapped = labels[:, columns][rows]
    mapped[no_row] = VOID
    mapped[:, no_column] = VOID
    return mapped


def _source_pixels(length: int, scale: float, offset: float, input_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns, along one axis, the original's pixel behind each pixel of the input, and where there is none."""
    indices = np.floor((np.arange(input_length) + 0.5 - offset) / scale).astype(np.intp)
    return np.clip(indices, 0, length - 1), (indices < 0) | (indices >= length)
