"""Time as a ratio, so that a bound holds on slow and on busy machines alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np


def copies_of(array: np.ndarray, function: Callable[[], Any]) -> float:
    """Returns how many times as long a call takes as a copy of the array, each at its best of three."""

    def best(call: Callable[[], Any]) -> float:
        times = []
        for _ in range(3):
            began = time.perf_counter()
            call()
            times.append(time.perf_counter() - began)
        return min(times)

    return best(function) / best(array.copy)
