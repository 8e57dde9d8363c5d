"""Runs a batch: joins the tensors of several requests for one call of the graph, and splits its outputs again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from cvserve.errors import FailedPrecondition

Tensors = dict[str, np.ndarray]
RunGraph = Callable[[Mapping[str, np.ndarray], Sequence[str] | None], Tensors]


class Entries:
    """Runs the graphs of a model with several signatures on a worker."""

    def __init__(self, runs: Mapping[str, RunGraph], close: Callable[[], None] = lambda: None) -> None:
        """
        Args:
            runs: the function of each signature, by its name.
            close: frees the memory.
        """
        self.runs = runs
        self.close = close

    def __call__(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None) -> Tensors:
        """Runs the only signature of the model."""
        (run,) = self.runs.values()
        return run(inputs, outputs)


class WithLone:
    """Holds a graph, and a replica of it that is faster for a request that comes while nothing else runs or waits."""

    def __init__(self, run: RunGraph, lone: RunGraph) -> None:
        self.run, self.lone = run, lone

    def __call__(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None) -> Tensors:
        """Runs the graph for requests under load."""
        return self.run(inputs, outputs)


def entry_point(run: RunGraph, signature: str, *, lone: bool = False) -> RunGraph:
    """Returns the function that runs a signature. Graphs that are not `Entries` have only one, whatever its name.

    Args:
        run: the graph or graphs of the worker.
        signature: its name.
        lone: whether nothing else runs or waits.
    """
    if isinstance(run, WithLone):
        return run.lone if lone else run.run
    return run.runs[signature] if isinstance(run, Entries) else run


def run_batch(
    run: RunGraph, parts: Sequence[Tensors], rows: Sequence[int], size: int, outputs: Sequence[str] | None
) -> list[Tensors]:
    """Runs `parts` as one batch.

    Args:
        run: the graph.
        parts: each request's inputs; every tensor of a part has the part's rows first.
        rows: the number of rows of each part.
        size: the number of rows that the graph gets. Missing rows are filled with the last one, and their outputs
            dropped.
        outputs: which outputs are wanted; None: all.

    Returns:
        Each part's outputs, as views of the batch's. A part that ran alone and unpadded gets the graph's outputs as
        they are, so that an output without a batch dimension is possible there.

    Raises:
        FailedPrecondition: an output does not have one row for each row of the batch.
        Whatever the graph raises.
    """
    total = sum(rows)
    if len(parts) == 1 and size == total:
        return [run(parts[0], outputs)]
    inputs = {name: _joined([part[name] for part in parts], size - total) for name in parts[0]}
    answers = run(inputs, outputs)
    for name, answer in answers.items():
        if answer.shape[:1] != (size,):
            raise FailedPrecondition(
                f"output {name!r} has shape {list(answer.shape)} for a batch of {size}, so this model cannot be batched"
            )
    results, start = [], 0
    for count in rows:
        results.append({name: answer[start : start + count] for name, answer in answers.items()})
        start += count
    return results


def _joined(arrays: list[np.ndarray], missing: int) -> np.ndarray:
    if missing > 0:
        arrays = [*arrays, np.repeat(arrays[-1][-1:], missing, axis=0)]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


SAMPLED = 4096
"""Number of strings of one tensor that are measured: a few bytes of a message can stand for millions of them."""


def size_of(inputs: Mapping[str, np.ndarray]) -> int:
    """Returns the approximate number of bytes that tensors hold, strings included."""
    return sum(array.nbytes + (_text_size(array) if array.dtype == object else 0) for array in inputs.values())


def _text_size(strings: np.ndarray) -> int:
    flat = strings.reshape(-1)
    sample = flat[:: -(-flat.size // SAMPLED) or 1].tolist()
    return sum(map(len, sample)) * flat.size // max(len(sample), 1)


def common_rows(inputs: Mapping[str, np.ndarray]) -> int | None:
    """Returns the first dimension of the inputs if it is the same for all of them, else None."""
    counts = {array.shape[0] if array.ndim else None for array in inputs.values()}
    count = counts.pop() if len(counts) == 1 else None
    return count or None
