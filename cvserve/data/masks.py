"""Label maps: the class of every pixel of a picture, as data sets give it."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from cvserve.data.source import Source

VOID = 255
"""The label of pixels that are neither learned nor scored, whatever a data set calls them."""


class SegmentationSource(Source, Protocol):
    """One split of a data set for semantic segmentation."""

    def mask(self, index: int) -> np.ndarray:
        """uint8 [H, W] of the upright original: indices into `classes`, or `VOID`.

        Raises:
            ImageError: it cannot be read, or is not of the picture's size.
        """

    @property
    def colours(self) -> tuple[tuple[int, int, int], ...]:
        """RGB of each class, in label order; empty where the data set has none."""
