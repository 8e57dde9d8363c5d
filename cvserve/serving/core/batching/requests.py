"""A request in the batcher: what is known of it, and how it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from cvserve.errors import InvalidInput
from cvserve.serving.core.batching.execution import Tensors
from cvserve.serving.core.observer import TellStage

Finish = Callable[[Tensors], Any]
Make = Callable[[], Tensors]

PRIORITY: ContextVar[str | None] = ContextVar("cvserve_priority", default=None)
"""What the client says of its request's priority, where an edge asks for it."""

PRIORITY_HEADER = "x-priority"


@dataclass(eq=False)
class Entry:
    """One request, or one piece of a large one: coming, waiting or running.

    Its rows, group and bytes are known when it enters the queue; its tensors too, unless `make` is to make them on
    the worker that runs it. gone: it was answered or given up. admitted: when it entered the queue, which is later than
    `enqueued` for an image that was decoded first. traced: is told the stages of this request. alone: it has no rows.
    priority: smaller numbers go first. patience: ends its waiting, but not its running.
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
    admitted: float = 0.0
    traced: TellStage | None = None
    alone: bool = False
    priority: int = 0
    patience: asyncio.TimerHandle | None = None


def priority_of(levels: int, default: int) -> int:
    """The priority of the request that this task works on.

    Raises:
        InvalidInput: it is none of the levels.
    """
    said = PRIORITY.get()
    if said is None:
        return default
    if said.isdecimal() and len(said) < 4 and 1 <= int(said) <= levels:
        return int(said)
    raise InvalidInput(f"{PRIORITY_HEADER}: {said[:20]!r} is no priority; this model has 1 (first) to {levels}")


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
    # The encoded image is not kept while the graph runs.
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
        entry.answer.set_exception(answerable(result.error))
    elif isinstance(result, BaseException):
        entry.answer.set_exception(answerable(result))
    else:
        entry.answer.set_result(result)


def answerable(error: BaseException) -> BaseException:
    """The error as a future takes it: none takes StopIteration, and whoever waits would wait for ever, with all those
    whose answers come after this one."""
    if not isinstance(error, StopIteration):
        return error
    wrapped = RuntimeError(f"StopIteration: {error}")
    wrapped.__cause__ = error
    return wrapped
