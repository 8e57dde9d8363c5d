"""Label maps: the class of every pixel of an image, as data sets give it."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from cvserve.data.source import Source
from cvserve.preproc import Geometry

VOID = 255
"""The label of pixels that are neither learned nor scored, whatever a data set calls them."""


class SegmentationSource(Source, Protocol):
    """One split of a data set for semantic segmentation."""

    def mask(self, index: int) -> np.ndarray:
        """uint8 [H, W] of the upright original: indices into `classes`, or `VOID`.

        Raises:
            ImageError: it is not there, cannot be read, or is not of the image's size: the image is left out.
            InvalidInput: it has a label that is none of the classes: the data set is not what it says.
        """

    @property
    def colors(self) -> tuple[tuple[int, int, int], ...]:
        """RGB of each class, in label order; empty where the data set has none."""


def labels_in_input(labels: np.ndarray, geometry: Geometry, height: int, width: int) -> np.ndarray:
    """A label map of an original as the network's input shows it.

    Args:
        labels: uint8 [h, w]. geometry: from the original to the input.

    Returns:
        uint8 [height, width]: each pixel has the label of the original's pixel in which its centre lies, and `VOID`
        where that is padding.
    """
    rows, no_row = _seen(labels.shape[0], geometry.scale_y, geometry.offset_y, height)
    columns, no_column = _seen(labels.shape[1], geometry.scale_x, geometry.offset_x, width)
    shown = labels[:, columns][rows]
    shown[no_row] = VOID
    shown[:, no_column] = VOID
    return shown


def _seen(length: int, scale: float, offset: float, input_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Along one axis: the original's pixel behind each pixel of the input, and where there is none."""
    places = np.floor((np.arange(input_length) + 0.5 - offset) / scale).astype(np.intp)
    return np.clip(places, 0, length - 1), (places < 0) | (places >= length)
