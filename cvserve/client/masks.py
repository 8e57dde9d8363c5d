"""Converts masks in messages of cvserve.v1 to numpy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np


def points_of(points: Any) -> np.ndarray:
    """Returns the points of a polygon, [N, 2]: int64 where all are whole numbers, else float64."""
    exact = np.array(points, np.float64).reshape(-1, 2)
    integers = exact.astype(np.int64)
    return integers if np.array_equal(integers, exact) else exact
