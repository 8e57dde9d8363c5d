"""A request in the batcher: what is known of it, and how it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from cvserve.serving.core.execution import Tensors

Finish = Callable[[Tensors], Any]
Make = Callable[[], Tensors]


@dataclass(eq=False)
class Entry:
    """One request, or one piece of a large one: coming, waiting or running.

    Its rows, group and bytes are known when it enters the queue; its tensors too, unless `make` is to make them on
    the worker that runs it. gone: it was answered or given up.
    """

    signature: str
    outputs: tuple[str, ...] | None
    finish: Finish | None
    enqueued: float
    deadline: float
    answer: asyncio.Future[Any]
    timer: asyncio.TimerHandle | None = None
    coming: bool = False
    gone: bool = False
    inputs: Tensors = field(default_factory=dict)
    rows: int = 0
    group: Hashable = None
    bytes: int = 0
    make: Make | None = None


def group_of(signature: str, outputs: tuple[str, ...] | None, inputs: Tensors) -> Hashable:
    """Requests of equal groups can share a batch: same signature, same outputs, same dtypes and shapes but the rows."""
    return (signature, outputs, *((name, array.dtype.str, array.shape[1:]) for name, array in inputs.items()))


class _Failure:
    """The error of one member's `make` or `finish`, which is no error of its batch."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def made(entry: Entry) -> Any:
    """Makes the entry's tensors where they are still to be made, on the worker's thread.

    Returns:
        None when they are there; otherwise what `answer_with` answers.
    """
    if entry.make is None:
        return None
    try:
        entry.inputs = entry.make()
    except Exception as error:  # noqa: BLE001 - handed to the caller, which waits on the loop
        return _Failure(error)
    # The encoded picture is not kept while the graph runs.
    entry.make = None
    return None


def finished(entry: Entry, answer: Tensors) -> Any:
    """What the entry's `finish` makes of its outputs, on the worker's thread; for `answer_with`."""
    if entry.finish is None:
        return answer
    try:
        return entry.finish(answer)
    except Exception as error:  # noqa: BLE001 - handed to the caller, which waits on the loop
        return _Failure(error)


def answer_with(entry: Entry, result: Any) -> None:
    """Answers an entry, with a result or an exception, unless it has been answered or given up. On the loop."""
    if entry.answer.done():
        return
    if isinstance(result, _Failure):
        entry.answer.set_exception(result.error)
    elif isinstance(result, BaseException):
        entry.answer.set_exception(result)
    else:
        entry.answer.set_result(result)
