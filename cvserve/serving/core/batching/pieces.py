"""Splits a large request into pieces that fit into batches."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import numpy as np

from cvserve.errors import FailedPrecondition
from cvserve.serving.core.batching.execution import Tensors, size_of


async def run_in_pieces(
    inputs: Tensors,
    rows: int,
    *,
    max_rows: int,
    at_once: int,
    run: Callable[[Tensors, int], Awaitable[Tensors]],
    count_bytes: Callable[[int], None],
) -> Tensors:
    """Runs a request of more rows than a batch holds.

    Args:
        inputs: the tensors of the request, each with `rows` rows.
        rows: the number of rows of the request.
        max_rows: the largest number of rows of one piece.
        at_once: the number of pieces that are in the queue at the same time: as many as can run, and one to follow
            them. Between them, other requests have their turn.
        run: queues one piece with its rows, and returns its outputs.
        count_bytes: adds to the number of bytes that wait in the queue; a negative number subtracts.

    Returns:
        The outputs of all rows.

    Raises:
        As `run`; FailedPrecondition: an output without one row for each row of its piece.
    """
    pieces = split(inputs, rows, max_rows)
    sizes = [size_of(piece) for piece in pieces]
    counts = [len(next(iter(piece.values()))) for piece in pieces]
    answers: list[Tensors] = [{} for _ in pieces]
    remaining = iter(range(len(pieces)))

    async def feed() -> None:
        for at in remaining:
            count_bytes(-sizes[at])
            sizes[at] = 0
            answers[at] = await run(pieces[at], counts[at])

    count_bytes(sum(sizes))
    tasks = [asyncio.ensure_future(feed()) for _ in range(min(len(pieces), at_once))]
    try:
        await asyncio.gather(*tasks)
    finally:
        # When one piece fails or the caller gives up, the other pieces are cancelled.
        for task in tasks:
            task.cancel()
        count_bytes(-sum(sizes))
        sizes.clear()
    return joined(answers, counts)


def split(inputs: Mapping[str, np.ndarray], rows: int, size: int) -> list[Tensors]:
    """Splits the inputs of one request into pieces of at most `size` rows."""
    return [{name: array[at : at + size] for name, array in inputs.items()} for at in range(0, rows, size)]


def joined(pieces: Sequence[Tensors], rows: Sequence[int]) -> Tensors:
    """Joins the outputs of the pieces to the outputs of the request.

    Raises:
        FailedPrecondition: an output without one row for each row of its piece.
    """
    for piece, count in zip(pieces, rows, strict=True):
        for name, array in piece.items():
            if array.shape[:1] != (count,):
                raise FailedPrecondition(
                    f"output {name!r} has shape {list(array.shape)} for {count} rows, so a request larger than the "
                    "maximum batch cannot be split for this model"
                )
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
