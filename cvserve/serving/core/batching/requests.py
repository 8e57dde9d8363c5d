"""A request in the queue: what is known of it, and how it is answered."""

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
"""The priority that the client gives its request, where a protocol reads it."""

PRIORITY_HEADER = "x-priority"


@dataclass(eq=False)
class Entry:
    """One request, or one piece of a large one: being made, waiting or running.

    Its rows, group and bytes are known when it enters the queue; its tensors too, unless `make` is to make them on
    the worker that runs it.

    Attributes:
        enqueued: when the request came; `admitted`: when it entered the queue, which is later for an image that was
            decoded first.
        coming: whether its tensors are being made on another thread.
        gone: whether it was answered or given up.
        alone: whether its tensors have no rows, so that it runs by itself.
        priority: smaller numbers go first.
        finish: makes the answer of the outputs, on the worker's thread.
        trace: gets the stages of this request.
        deadline_timer: gives the request up. queue_timer: gives it up if it still waits.
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
        """Takes the tensors. rows: None if their first dimensions are no rows."""
        self.inputs = inputs
        self.bytes = size_of(inputs)
        # Without common rows it stands for a whole batch, so that nothing is padded or joined.
        self.alone = rows is None
        self.rows = max_rows if rows is None else rows
        self.group = object() if rows is None else group_of(self.signature, self.outputs, inputs)

    def fill_later(self, make: Make, like: Tensors, size: int) -> None:
        """Takes a function that makes tensors of one row, with the dtypes and shapes of `like`."""
        self.make, self.rows, self.bytes = make, 1, size
        self.group = group_of(self.signature, self.outputs, like)

    def stop_timers(self) -> None:
        """Cancels the timers. On the loop."""
        if self.deadline_timer is not None:
            self.deadline_timer.cancel()
        if self.queue_timer is not None:
            self.queue_timer.cancel()

    def answer_with(self, result: Any) -> None:
        """Answers with a result, an exception or a `Failed`, unless the request was answered or given up. On the
        loop."""
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
    """The error of one member's `make` or `finish`, which is no error of its batch."""

    error: Exception


def answer_all(results: Mapping[Entry, Any]) -> None:
    """Answers each entry. On the loop."""
    for entry, result in results.items():
        entry.answer_with(result)


def priority_of(levels: int, default: int) -> int:
    """Returns the priority of the request that the current task works on.

    Raises:
        InvalidInput: it is none of the levels.
    """
    text = PRIORITY.get()
    if text is None:
        return default
    if text.isdecimal() and len(text) < 4 and 1 <= int(text) <= levels:
        return int(text)
    raise InvalidInput(f"{PRIORITY_HEADER}: {text[:20]!r} is no priority; this model has 1 (first) to {levels}")


def group_of(signature: str, outputs: tuple[str, ...] | None, inputs: Tensors) -> Hashable:
    """Returns the key of requests that can share a batch: same signature, outputs, dtypes, and shapes but the rows."""
    return (signature, outputs, *((name, array.dtype.str, array.shape[1:]) for name, array in inputs.items()))


def answerable(error: BaseException) -> BaseException:
    """Returns the error as a future takes it. No future takes StopIteration: its caller would wait for ever, and so
    would all whose answers come after this one."""
    if not isinstance(error, StopIteration):
        return error
    wrapped = RuntimeError(f"StopIteration: {error}")
    wrapped.__cause__ = error
    return wrapped
