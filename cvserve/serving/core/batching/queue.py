"""Requests to a model's instances in batches: what the event loop sees of it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from cvserve.errors import DeadlineExceeded, Overloaded
from cvserve.serving.core.batching.bounds import BatcherCounts, QueueBounds
from cvserve.serving.core.batching.dispatcher import Dispatcher, Slot
from cvserve.serving.core.batching.execution import Tensors, common_rows, joined, size_of, split
from cvserve.serving.core.batching.policy import BatchLimits
from cvserve.serving.core.batching.requests import Entry, Finish, Make, answer_with, priority_of
from cvserve.serving.core.mailbox import Mailbox
from cvserve.serving.core.observer import TRACED, UNOBSERVED, VersionReport

PRESSED_SECONDS = 0.1
"""So long after a refusal the next one is likely."""

Give = Callable[[Tensors], None]
Fail = Callable[[BaseException], None]
GiveUp = Callable[[], None]


class Batcher:
    """Runs requests in batches. Its public methods are called on the loop's thread.

    A deadline or a cancellation acts from the moment of the call, by a timer of its own, so it is on time while a
    long batch runs, whether the request waits or is part of that batch. A request that is given up before its batch
    starts never runs. When a batch fails, its members run once more, each alone, so that one bad row fails only its
    own request.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        limits: BatchLimits,
        bounds: QueueBounds,
        mailbox: Mailbox,
        *,
        name: str,
        clock: Callable[[], float] = time.monotonic,
        report: VersionReport = UNOBSERVED,
    ) -> None:
        """
        Args:
            slots: one for each batch that may run at the same time.
            mailbox: the way back to the loop.
            name: what errors call the model.
            clock: the loop's time, readable on any thread (that of uvloop itself stands still while the loop sleeps).
            report: told of queue, batches and stages.
        """
        self._loop = asyncio.get_running_loop()
        self._clock = clock
        self._mailbox = mailbox
        self._name = name
        self._report = report
        self._queue = Dispatcher(
            slots, limits, bounds, mailbox, name=name, clock=clock, report=report, wake_at=self._wake_at
        )
        self._wake: asyncio.TimerHandle | None = None
        self._pump_planned = False

    @property
    def counts(self) -> BatcherCounts:
        """What was done so far."""
        return self._queue.counts

    @property
    def waiting(self) -> int:
        """Requests (or pieces of large ones) that wait for a slot, those still being decoded included."""
        return self._queue.waiting

    @property
    def queued_bytes(self) -> int:
        """Bytes of what waits."""
        return self._queue.queued_bytes

    @property
    def pressed(self) -> bool:
        """Whether requests are being refused for want of room."""
        return self._clock() - self._queue.refused_at < PRESSED_SECONDS

    def check_room(self, size: int = 0, deadline: float = math.inf) -> None:
        """Refuses before anything has been spent on a request of `size` bytes.

        Raises:
            Overloaded: the queue is full, or so long that the deadline would pass in it.
            Unavailable: the model is being unloaded.
        """
        self._queue.check_room(size, deadline)

    async def run(
        self,
        inputs: Tensors,
        *,
        signature: str = "serving_default",
        outputs: Sequence[str] | None = None,
        deadline: float = math.inf,
        alone: bool = False,
    ) -> Tensors:
        """Queues a request and waits for its answer.

        Args:
            inputs: by name; with equal first dimensions they are rows, which are batched with those of others and
                split over several batches where they are more than one holds; otherwise the request runs alone.
            signature: keeps requests of different signatures apart.
            outputs: which outputs are wanted; None: all.
            deadline: in the loop's time.
            alone: the first dimensions are no rows: the request runs by itself, and whole.

        Returns:
            The outputs by name.

        Raises:
            Overloaded, Unavailable, DeadlineExceeded; whatever the graph raises.
        """
        self.check_room(size_of(inputs), deadline)
        self._queue.counts.requests += 1
        rows = None if alone else common_rows(inputs)
        wanted = None if outputs is None else tuple(outputs)
        if rows is None or rows <= self._queue.limits.max_rows:
            answer: Tensors = await self._run_one(inputs, rows, signature, wanted, deadline)
            return answer
        return await self._run_in_pieces(inputs, rows, signature, wanted, deadline)

    async def _run_in_pieces(
        self, inputs: Tensors, rows: int, signature: str, outputs: tuple[str, ...] | None, deadline: float
    ) -> Tensors:
        """One large request, of which only as many pieces are in the queue as can run, and one more to follow them: in
        between, others have their turn."""
        pieces = split(inputs, rows, self._queue.limits.max_rows)
        sizes = [size_of(piece) for piece in pieces]
        counts = [len(next(iter(piece.values()))) for piece in pieces]
        answers: list[Tensors] = [{} for _ in pieces]
        remaining = iter(range(len(pieces)))

        async def feed() -> None:
            for at in remaining:
                self._queue.hold(-sizes[at])
                sizes[at] = 0
                answers[at] = await self._run_one(pieces[at], counts[at], signature, outputs, deadline)

        self._queue.hold(sum(sizes))
        tasks = [asyncio.ensure_future(feed()) for _ in range(min(len(pieces), self._queue.slots + 1))]
        try:
            await asyncio.gather(*tasks)
        finally:
            # One piece's failure, or the caller's going, ends the others.
            for task in tasks:
                task.cancel()
            self._queue.hold(-sum(sizes))
            sizes.clear()
        return joined(answers, counts)

    async def run_when_made(
        self,
        make: Callable[[Give, Fail], GiveUp],
        *,
        signature: str = "serving_default",
        outputs: tuple[str, ...] | None = None,
        deadline: float = math.inf,
        finish: Finish | None = None,
    ) -> Any:
        """Queues a request whose tensors, of one row, are still to be made elsewhere, and waits for its answer.

        Args:
            make: begins the making; it is to call the first argument with the tensors or the second with an error,
                on any thread, and returns how to give the making up.
            finish: called with the outputs on the worker's thread (work that must not hold up the loop); what it
                returns is the answer.

        Returns:
            What `finish` made of the outputs, or the outputs.

        Raises:
            As `run`; whatever `make` raises or hands over.
        """
        self.check_room(0, deadline)
        self._queue.counts.requests += 1
        entry = self._new_entry(signature, outputs, deadline, finish)
        self._queue.expect(entry)

        def give(inputs: Tensors) -> None:
            if self._queue.arrive(entry, inputs, common_rows(inputs)) and entry.traced is not None:
                entry.traced("decode", entry.enqueued, entry.admitted)

        def fail(error: BaseException) -> None:
            self._mailbox.post(answer_with, entry, error)

        give_up: GiveUp | None = None
        try:
            try:
                give_up = make(give, fail)
            except Overloaded:
                self._report.rejected("decode full")
                raise
            return await self._answer(entry)
        finally:
            _stop_timers(entry)
            self._queue.leave(entry)
            if give_up is not None:
                give_up()

    async def run_made_by_worker(
        self,
        make: Make,
        like: Tensors,
        *,
        size: int,
        signature: str = "serving_default",
        outputs: tuple[str, ...] | None = None,
        deadline: float = math.inf,
        finish: Finish | None = None,
    ) -> Any:
        """Queues a request whose tensors, of one row, the worker that runs it makes first, and waits for its answer.

        Where every core has a worker this is the quickest way: an image goes from its bytes to its result on one
        core, and what waits in the queue is the bytes.

        Args:
            make: called on the worker's thread; what it raises fails this request only.
            like: tensors of the dtypes and shapes that it will return; the number of rows is not looked at.
            size: bytes that the request holds while it waits.
            finish: as in `run_when_made`.

        Raises:
            As `run`; whatever `make` raises.
        """
        self.check_room(size, deadline)
        self._queue.counts.requests += 1
        entry = self._new_entry(signature, outputs, deadline, finish)
        entry.make = make
        self._queue.add_unmade(entry, like, size)
        return await self._answer_soon(entry)

    def close(self) -> None:
        """Refuses new requests and answers those that still wait with Unavailable. Running batches are left alone."""
        if self._wake is not None:
            self._wake.cancel()
        for entry in self._queue.close():
            self._queue.leave(entry)
            answer_with(entry, self._queue.unloading())

    async def _run_one(
        self, inputs: Tensors, rows: int | None, signature: str, outputs: tuple[str, ...] | None, deadline: float
    ) -> Any:
        entry = self._new_entry(signature, outputs, deadline, None)
        self._queue.add(entry, inputs, rows)
        return await self._answer_soon(entry)

    async def _answer_soon(self, entry: Entry) -> Any:
        # Not at once: requests that arrive in the same turn of the loop share a batch.
        if not self._pump_planned:
            self._pump_planned = True
            self._loop.call_soon(self._planned_pump)
        try:
            return await self._answer(entry)
        finally:
            self._queue.leave(entry)

    def _new_entry(
        self, signature: str, outputs: tuple[str, ...] | None, deadline: float, finish: Finish | None
    ) -> Entry:
        now = self._clock()
        if deadline <= now:
            self._queue.counts.expired += 1
            self._report.rejected("expired")
            raise DeadlineExceeded(f"the deadline had passed before the request reached the queue of {self._name}")
        entry = Entry(signature, outputs, finish, now, deadline, self._loop.create_future())
        entry.traced = TRACED.get()
        bounds = self._queue.bounds
        if bounds.priority_levels:
            entry.priority = priority_of(bounds.priority_levels, bounds.default_priority)
        if bounds.seconds != math.inf:
            entry.patience = self._loop.call_at(now + bounds.seconds, self._waited_enough, entry)
        if deadline != math.inf:
            entry.timer = self._loop.call_at(deadline, self._expire, entry)
        return entry

    async def _answer(self, entry: Entry) -> Any:
        try:
            return await entry.answer
        except asyncio.CancelledError:
            self._queue.counts.cancelled += 1
            self._report.rejected("cancelled")
            raise
        finally:
            _stop_timers(entry)

    def _expire(self, entry: Entry) -> None:
        self._queue.leave(entry)
        if not entry.answer.done():
            self._queue.counts.expired += 1
            self._report.rejected("expired")
            entry.answer.set_exception(DeadlineExceeded(f"the deadline passed while {self._name} was busy"))

    def _waited_enough(self, entry: Entry) -> None:
        if not entry.answer.done() and self._queue.leave_queue(entry):
            self._queue.counts.expired += 1
            self._report.rejected("expired")
            entry.answer.set_exception(
                DeadlineExceeded(
                    f"the request waited {self._queue.bounds.seconds * 1000:g} ms for {self._name}, "
                    "which is all that its queue_timeout_ms allows"
                )
            )

    def _planned_pump(self) -> None:
        self._pump_planned = False
        self._queue.pump()

    def _wake_at(self, when: float) -> None:
        if self._wake is not None:
            self._wake.cancel()
        self._wake = self._loop.call_at(when, self._planned_pump)


def _stop_timers(entry: Entry) -> None:
    for timer in (entry.timer, entry.patience):
        if timer is not None:
            timer.cancel()
