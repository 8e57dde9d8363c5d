"""A request in the queue, with its tensors, deadline and answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from cvserve.errors import InvalidInput
from cvserve.serving.core.batching.execution import Tensors, size_of
from cvserve.serving.core.observer import ReportStage

Finish = Callable[[Tensors], Any]
Make = Callable[[], Tensors]

PRIORITY: ContextVar[str | None] = ContextVar("cvserve_priority", default=None)
"""The priority of the request that the current task works on, as the client gave it; set by the protocols."""

PRIORITY_HEADER = "x-priority"


@dataclass(eq=False)
class Entry:
    """Holds one request, or one piece of a large one, while it is being made, waits or runs.

    Its rows, group and bytes are known when it enters the queue. Its tensors are known too, unless `make` makes them
    on the worker that runs it.

    Attributes:
        enqueued: when the request came; `admitted`: when it entered the queue, which is later for an image that was
            decoded first.
        coming: whether its tensors are being made on another thread.
        gone: whether it was answered or cancelled.
        alone: whether its tensors have no rows, so that it runs alone.
        priority: smaller numbers go first.
        finish: converts the outputs to the answer, on the worker's thread.
        trace: gets the stages of this request.
        deadline_timer: ends the request at its deadline. queue_timer: ends it if it has waited too long.
    """

    signature: str
    outputs: tuple[str, ...] | None
    finish: Finish | None
    enqueued: float
    deadline: float
    answer: asyncio.Future[Any]
    trace: ReportStage | None = None
    priority: int = 0
    deadline_timer: asyncio.TimerHandle | None = None
    queue_timer: asyncio.TimerHandle | None = None
    coming: bool = False
    gone: bool = False
    inputs: Tensors = field(default_factory=dict)
    make: Make | None = None
    rows: int = 0
    group: Hashable = None
    bytes: int = 0
    alone: bool = False
    admitted: float = 0.0

    def fill(self, inputs: Tensors, rows: int | None, max_rows: int) -> None:
        """Sets the tensors. rows: None if their first dimensions are not rows."""
        self.inputs = inputs
        self.bytes = size_of(inputs)
        # Without common rows it counts as a full batch, so that nothing is padded or joined.
        self.alone = rows is None
        self.rows = max_rows if rows is None else rows
        self.group = object() if rows is None else group_of(self.signature, self.outputs, inputs)

    def fill_later(self, make: Make, like: Tensors, size: int) -> None:
        """Sets the function that makes the tensors later: of one row, with the dtypes and shapes of `like`."""
        self.make, self.rows, self.bytes = make, 1, size
        self.group = group_of(self.signature, self.outputs, like)

    def stop_timers(self) -> None:
        """Cancels the timers. Called on the loop."""
        if self.deadline_timer is not None:
            self.deadline_timer.cancel()
        if self.queue_timer is not None:
            self.queue_timer.cancel()

    def answer_with(self, result: Any) -> None:
        """Answers with a result, an exception or a `Failed`, unless the request was answered or cancelled. Called on
        the loop."""
        if self.answer.done():
            return
        if isinstance(result, Failed):
            result = result.error
        elif not isinstance(result, BaseException):
            self.answer.set_result(result)
            return
        self.answer.set_exception(answerable(result))


@dataclass(frozen=True)
class Failed:
    """Holds an error of one request's `make` or `finish`, which does not make its batch fail."""

    error: Exception


def answer_all(results: Mapping[Entry, Any]) -> None:
    """Answers each entry. Called on the loop."""
    for entry, result in results.items():
        entry.answer_with(result)


def priority_of(levels: int, default: int) -> int:
    """Returns the priority of the request that the current task works on.

    Raises:
        InvalidInput: it is not one of the levels.
    """
    text = PRIORITY.get()
    if text is None:
        return default
    if text.isdecimal() and len(text) < 4 and 1 <= int(text) <= levels:
        return int(text)
    raise InvalidInput(f"{PRIORITY_HEADER}: {text[:20]!r} is not a priority; this model has 1 (first) to {levels}")


def group_of(signature: str, outputs: tuple[str, ...] | None, inputs: Tensors) -> Hashable:
    """Returns the key of requests that can share a batch: signature, outputs, dtypes, and shapes without the rows."""
    return (signature, outputs, *((name, array.dtype.str, array.shape[1:]) for name, array in inputs.items()))


def answerable(error: BaseException) -> BaseException:
    """Returns the error, wrapped where a future would refuse it.

    A future does not accept StopIteration: its caller would wait for ever, and so would all callers whose answers come
    after it.
    """
    if not isinstance(error, StopIteration):
        return error
    wrapped = RuntimeError(f"StopIteration: {error}")
    wrapped.__cause__ = error
    return wrapped
