"""The mechanism around `batch_policy`: a bounded queue, timers, and the hand-over to the instances."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cvserve.errors import DeadlineExceeded, Overloaded, Unavailable
from cvserve.serving.core.batch_policy import BatchLimits, decide
from cvserve.serving.core.execution import RunGraph, Tensors, joined, run_batch, split

Finish = Callable[[Tensors], Any]


class Slots(Protocol):
    """Where batches run: `Workers`, or a puppet in tests."""

    @property
    def free(self) -> int: ...

    def submit(self, job: Callable[[RunGraph], Any], done: Callable[[Any, BaseException | None], None]) -> None: ...


@dataclass(frozen=True)
class QueueBounds:
    """How much may wait: requests, and bytes of their tensors."""

    requests: int = 256
    bytes: int = 512 << 20


@dataclass(eq=False)
class _Entry:
    """One request, or one piece of a large one, in the queue or running."""

    inputs: Tensors
    rows: int
    group: Hashable
    outputs: tuple[str, ...] | None
    finish: Finish | None
    enqueued: float
    deadline: float
    answer: asyncio.Future[Any]
    bytes: int
    timer: asyncio.TimerHandle | None = None
    retried: bool = False


@dataclass
class BatcherCounts:
    """What the batcher has done so far."""

    requests: int = 0
    batches: int = 0
    rows: int = 0
    padded_rows: int = 0
    rejected: int = 0
    expired: int = 0
    cancelled: int = 0
    retried: int = 0


class Batcher:
    """Runs requests in batches. Used from the loop's thread only.

    A deadline or a cancellation acts from the moment of enqueueing, by a timer of its own, so it is on time while a
    long batch runs, whether the request waits or is part of that batch. A request that is given up before its batch
    starts never runs. When a batch fails, its members run once more, each alone, so that one bad row fails only its
    own request.
    """

    def __init__(self, slots: Slots, limits: BatchLimits, bounds: QueueBounds, *, name: str = "the model") -> None:
        """
        Args:
            name: what errors call the model.
        """
        self._loop = asyncio.get_running_loop()
        self._slots = slots
        self._limits = limits
        self._bounds = bounds
        self._name = name
        self._queue: OrderedDict[_Entry, None] = OrderedDict()
        self._queued_bytes = 0
        self._wake: asyncio.TimerHandle | None = None
        self._pump_planned = False
        self._closed = False
        self.counts = BatcherCounts()

    @property
    def limits(self) -> BatchLimits:
        return self._limits

    def could_start(self) -> bool:
        """Whether a slot is free. May be asked from any thread; when it turns True, that happens in a delivery."""
        return self._slots.free > 0

    @property
    def waiting(self) -> int:
        """Requests (or pieces of large ones) that wait for a slot."""
        return len(self._queue)

    def check_room(self, size: int = 0) -> None:
        """Refuses before anything has been spent on a request of `size` bytes.

        Raises:
            Overloaded: the queue is full.
            Unavailable: the model is being unloaded.
        """
        if self._closed:
            raise Unavailable(f"{self._name} is being unloaded; try again")
        # One request is let into an empty queue whatever its size: the limits on messages have already passed it.
        if self._queue and (
            len(self._queue) >= self._bounds.requests or self._queued_bytes + size > self._bounds.bytes
        ):
            self.counts.rejected += 1
            raise Overloaded(
                f"the queue of {self._name} is full: {len(self._queue)} requests of {self._queued_bytes >> 20} MiB "
                "wait; try again later"
            )

    async def run(
        self,
        inputs: Tensors,
        *,
        signature: str = "serving_default",
        outputs: Sequence[str] | None = None,
        deadline: float = math.inf,
        finish: Finish | None = None,
    ) -> Any:
        """Queues a request and waits for its answer.

        Args:
            inputs: by name; with equal first dimensions they are rows, which are batched with those of others and
                split over several batches where they are more than one holds; otherwise the request runs alone.
            signature: keeps requests of different signatures apart.
            outputs: which outputs are wanted; None: all.
            deadline: in the loop's time.
            finish: called with the answer on the worker's thread (work that must not hold up the loop); what it
                returns is the answer then.

        Returns:
            The outputs by name, or what `finish` made of them.

        Raises:
            Overloaded, Unavailable, DeadlineExceeded; whatever the graph raises.
        """
        rows = _common_rows(inputs)
        size = sum(array.nbytes for array in inputs.values())
        self.check_room(size)
        self.counts.requests += 1
        wanted = None if outputs is None else tuple(outputs)
        group: Hashable
        if rows is None:
            # It stands for a whole batch, so that nothing is padded or split.
            group, rows = object(), self._limits.max_rows
        else:
            group = (signature, wanted, *((name, array.dtype.str, array.shape[1:]) for name, array in inputs.items()))
        if rows <= self._limits.max_rows:
            return await self._run_piece(inputs, rows, group, wanted, deadline, finish)
        pieces = split(inputs, rows, self._limits.max_rows)
        counts = [len(next(iter(piece.values()))) for piece in pieces]
        answers = [
            asyncio.ensure_future(self._run_piece(piece, count, group, wanted, deadline, None))
            for piece, count in zip(pieces, counts, strict=True)
        ]
        try:
            answer = joined(await asyncio.gather(*answers), counts)
        finally:
            # One piece's failure, or the caller's going, ends the others.
            for other in answers:
                other.cancel()
        return answer if finish is None else finish(answer)

    def close(self) -> None:
        """Refuses new requests and answers those that still wait with Unavailable. Running batches are left alone."""
        self._closed = True
        for entry in list(self._queue):
            self._leave_queue(entry)
            if not entry.answer.done():
                entry.answer.set_exception(Unavailable(f"{self._name} is being unloaded; try again"))

    async def _run_piece(
        self,
        inputs: Tensors,
        rows: int,
        group: Hashable,
        outputs: tuple[str, ...] | None,
        deadline: float,
        finish: Finish | None,
    ) -> Any:
        now = self._loop.time()
        if deadline <= now:
            self.counts.expired += 1
            raise DeadlineExceeded(f"the deadline had passed before the request reached the queue of {self._name}")
        size = sum(array.nbytes for array in inputs.values())
        answer = self._loop.create_future()
        entry = _Entry(inputs, rows, group, outputs, finish, now, deadline, answer, size)
        if deadline != math.inf:
            entry.timer = self._loop.call_at(deadline, self._expire, entry)
        self._queue[entry] = None
        self._queued_bytes += size
        self._plan_pump()
        try:
            return await answer
        except asyncio.CancelledError:
            self.counts.cancelled += 1
            raise
        finally:
            self._leave_queue(entry)
            if entry.timer is not None:
                entry.timer.cancel()

    def _leave_queue(self, entry: _Entry) -> None:
        if entry in self._queue:
            del self._queue[entry]
            self._queued_bytes -= entry.bytes

    def _expire(self, entry: _Entry) -> None:
        self._leave_queue(entry)
        if not entry.answer.done():
            self.counts.expired += 1
            entry.answer.set_exception(DeadlineExceeded(f"the deadline passed while {self._name} was busy"))

    def _plan_pump(self) -> None:
        # Not at once: requests that arrive, or are decoded, in the same turn of the loop share a batch.
        if not self._pump_planned and self._slots.free:
            self._pump_planned = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_planned = False
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        while self._queue and self._slots.free:
            decision = decide(self._queue, self._loop.time(), self._slots.free, self._limits)
            for entry in decision.expired:
                self._expire(entry)
            if not decision.run:
                if decision.wake_at != math.inf:
                    self._wake = self._loop.call_at(decision.wake_at, self._pump)
                return
            self._start(decision.run)

    def _start(self, batch: tuple[_Entry, ...]) -> None:
        for entry in batch:
            self._leave_queue(entry)
        rows = [entry.rows for entry in batch]
        size = self._limits.padded(sum(rows))
        self.counts.batches += 1
        self.counts.rows += sum(rows)
        self.counts.padded_rows += size - sum(rows)
        outputs = batch[0].outputs

        def job(run: RunGraph) -> list[Any]:
            answers = run_batch(run, [entry.inputs for entry in batch], rows, size, outputs)
            return [_finished(entry, answer) for entry, answer in zip(batch, answers, strict=True)]

        def done(results: list[Any] | None, error: BaseException | None) -> None:
            if error is not None and len(batch) > 1:
                self._retry_singly(batch)
            else:
                for index, entry in enumerate(batch):
                    _answer(entry, error if results is None else results[index])
            self._plan_pump()

        self._slots.submit(job, done)

    def _retry_singly(self, batch: tuple[_Entry, ...]) -> None:
        """Puts the members at the head of the queue again, each in a group of its own, in their order."""
        for entry in reversed(batch):
            if not entry.answer.done():
                self.counts.retried += 1
                entry.retried = True
                entry.group = object()
                self._queue[entry] = None
                self._queue.move_to_end(entry, last=False)
                self._queued_bytes += entry.bytes


class _Failure:
    """The error of one member's `finish`, which is no error of the batch."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _finished(entry: _Entry, answer: Tensors) -> Any:
    if entry.finish is None:
        return answer
    try:
        return entry.finish(answer)
    except Exception as error:  # noqa: BLE001 - handed to the caller, which waits on the loop
        return _Failure(error)


def _answer(entry: _Entry, result: Any) -> None:
    if entry.answer.done():
        return
    if isinstance(result, _Failure):
        entry.answer.set_exception(result.error)
    elif isinstance(result, BaseException):
        entry.answer.set_exception(result)
    else:
        entry.answer.set_result(result)


def _common_rows(inputs: Tensors) -> int | None:
    """The first dimension that all inputs share, or None."""
    counts = {array.shape[0] if array.ndim else None for array in inputs.values()}
    count = counts.pop() if len(counts) == 1 else None
    return count or None
