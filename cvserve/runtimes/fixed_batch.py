"""Runs graphs that were built for one batch size with any number of rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from cvserve.errors import InvalidInput
from cvserve.runtimes.base import TensorInfo

Call = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]


def fixed_batch(inputs: Mapping[str, TensorInfo], outputs: Mapping[str, TensorInfo]) -> int | None:
    """Returns the only batch size that the graph takes, or None.

    A graph takes only one if the first dimension of all inputs and outputs is the same number. A graph with, say, an
    input [2] of sizes beside images [1, ...] is not changed.
    """
    first = {info.shape[0] if info.shape else None for info in (*inputs.values(), *outputs.values())}
    size = first.pop()
    return None if first else size


def any_batch(infos: Mapping[str, TensorInfo]) -> dict[str, TensorInfo]:
    """Returns the tensors with an open batch dimension."""
    return {name: replace(info, shape=(None, *info.shape[1:])) for name, info in infos.items()}


def run_in_batches(call: Call, inputs: dict[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
    """Runs `call`, which takes exactly `size` rows, over any number of rows.

    The last chunk is filled up by repeating its last row, whose answers are dropped.

    Raises:
        InvalidInput: the inputs differ in their number of rows.
    """
    counts = {len(array) for array in inputs.values()}
    if len(counts) != 1:
        raise InvalidInput(f"the inputs must have the same number of rows, not {sorted(counts)}")
    rows = counts.pop()
    parts: list[dict[str, np.ndarray]] = []
    for start in range(0, rows, size):
        chunk = {name: array[start : start + size] for name, array in inputs.items()}
        missing = start + size - rows
        if missing > 0:
            chunk = {name: np.concatenate([part, np.repeat(part[-1:], missing, 0)]) for name, part in chunk.items()}
        parts.append(call(chunk))
    if len(parts) == 1:
        return {name: array[:rows] for name, array in parts[0].items()}
    return {name: np.concatenate([part[name] for part in parts])[:rows] for name in parts[0]}
