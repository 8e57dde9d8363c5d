"""Writes large lists of numbers as JSON piece by piece, so that other threads have their turn in between.

Python's JSON writer keeps the interpreter's lock to the end of a document. The longest wait of another thread while one
answer is written, in pieces and as a whole (2 cores, 2026-12): 7 and 27 ms for 32,768 floats, 10 and 53 ms for
256 x 256, 15 and 129 ms for 512 x 512. Writing takes the same processor time either way.

To remove this, call `write` itself in `writing`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

VALUES = 8 << 10
"""Number of values in a piece, which takes about two milliseconds."""


def rows_json(count: int, each: int, write: Callable[[slice], str]) -> str:
    """Returns the JSON list of `count` rows, with `each` numbers in a row.

    Args:
        write: returns the JSON list of some of the rows.
    """
    step = max(1, VALUES // max(each, 1))
    if count <= step:
        return write(slice(0, count))
    return "[" + ", ".join(write(slice(start, start + step))[1:-1] for start in range(0, count, step)) + "]"


def array_json(array: np.ndarray, write: Callable[[np.ndarray], str]) -> str:
    """Returns the JSON of an array of any shape.

    Args:
        write: returns the JSON of a part of it.
    """
    if array.size <= VALUES or not array.ndim:
        return write(array)
    each = math.prod(array.shape[1:])
    if each > VALUES:
        return "[" + ", ".join(array_json(part, write) for part in array) + "]"
    return rows_json(len(array), each, lambda rows: write(array[rows]))
