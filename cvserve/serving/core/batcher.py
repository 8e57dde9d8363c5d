"""The mechanism around `batch_policy`: a bounded queue, timers, and the hand-over to the instances."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cvserve.errors import DeadlineExceeded, Overloaded, Unavailable
from cvserve.serving.core.batch_policy import BatchLimits, decide
from cvserve.serving.core.execution import RunGraph, Tensors, common_rows, joined, run_batch, split
from cvserve.serving.core.mailbox import Mailbox
from cvserve.serving.core.requests import Entry, Finish, Make, answer_with, finished, group_of, made

Job = Callable[[RunGraph], Any]
Give = Callable[[Tensors], None]
Fail = Callable[[BaseException], None]
GiveUp = Callable[[], None]


class Slot(Protocol):
    """Where a batch runs: a `Worker`, or a puppet in tests."""

    def begin(self, job: Job) -> None: ...


@dataclass(frozen=True)
class QueueBounds:
    """How much may wait: requests, and bytes of their tensors."""

    requests: int = 256
    bytes: int = 512 << 20


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
    """Runs requests in batches. Its public methods are called on the loop's thread.

    A deadline or a cancellation acts from the moment of the call, by a timer of its own, so it is on time while a
    long batch runs, whether the request waits or is part of that batch. A request that is given up before its batch
    starts never runs. When a batch fails, its members run once more, each alone, so that one bad row fails only its
    own request.

    The queue is behind a lock: a worker that has ended a batch forms the next one itself, and a decoding thread puts
    its picture into the queue itself, so that neither waits for the event loop, which only sees requests come and
    answers go.
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
    ) -> None:
        """
        Args:
            slots: one for each batch that may run at the same time.
            mailbox: the way back to the loop.
            name: what errors call the model.
            clock: the loop's time, readable on any thread (that of uvloop itself stands still while the loop sleeps).
        """
        self._loop = asyncio.get_running_loop()
        self._clock = clock
        self._mailbox = mailbox
        self._limits = limits
        self._bounds = bounds
        self._name = name
        self._lock = threading.Lock()
        # Behind the lock:
        self._idle = list(slots)
        self._slot_count = len(slots)
        self._queue: OrderedDict[Entry, None] = OrderedDict()
        self._queued_bytes = 0
        self._coming = 0
        self._closed = False
        self.counts = BatcherCounts()
        # The loop's own:
        self._wake: asyncio.TimerHandle | None = None
        self._pump_planned = False

    @property
    def waiting(self) -> int:
        """Requests (or pieces of large ones) that wait for a slot, those still being decoded included."""
        return len(self._queue) + self._coming

    def check_room(self, size: int = 0) -> None:
        """Refuses before anything has been spent on a request of `size` bytes.

        Raises:
            Overloaded: the queue is full.
            Unavailable: the model is being unloaded.
        """
        if self._closed:
            raise Unavailable(f"{self._name} is being unloaded; try again")
        waiting = self.waiting
        # One request is let into an empty queue whatever its size: the limits on messages have already passed it.
        if waiting and (waiting >= self._bounds.requests or self._queued_bytes + size > self._bounds.bytes):
            self.counts.rejected += 1
            raise Overloaded(
                f"the queue of {self._name} is full: {waiting} requests of {self._queued_bytes >> 20} MiB wait; "
                "try again later"
            )

    async def run(
        self,
        inputs: Tensors,
        *,
        signature: str = "serving_default",
        outputs: Sequence[str] | None = None,
        deadline: float = math.inf,
    ) -> Tensors:
        """Queues a request and waits for its answer.

        Args:
            inputs: by name; with equal first dimensions they are rows, which are batched with those of others and
                split over several batches where they are more than one holds; otherwise the request runs alone.
            signature: keeps requests of different signatures apart.
            outputs: which outputs are wanted; None: all.
            deadline: in the loop's time.

        Returns:
            The outputs by name.

        Raises:
            Overloaded, Unavailable, DeadlineExceeded; whatever the graph raises.
        """
        self.check_room(sum(array.nbytes for array in inputs.values()))
        self.counts.requests += 1
        rows = common_rows(inputs)
        wanted = None if outputs is None else tuple(outputs)
        if rows is None or rows <= self._limits.max_rows:
            answer: Tensors = await self._run_one(inputs, signature, wanted, deadline)
            return answer
        return await self._run_in_pieces(inputs, rows, signature, wanted, deadline)

    async def _run_in_pieces(
        self, inputs: Tensors, rows: int, signature: str, outputs: tuple[str, ...] | None, deadline: float
    ) -> Tensors:
        """One large request, of which only as many pieces are in the queue as can run, and one more to follow them: in
        between, others have their turn."""
        pieces = split(inputs, rows, self._limits.max_rows)
        sizes = [sum(array.nbytes for array in piece.values()) for piece in pieces]
        answers: list[Tensors] = [{} for _ in pieces]
        remaining = iter(range(len(pieces)))

        async def feed() -> None:
            for at in remaining:
                self._hold(-sizes[at])
                sizes[at] = 0
                answers[at] = await self._run_one(pieces[at], signature, outputs, deadline)

        self._hold(sum(sizes))
        tasks = [asyncio.ensure_future(feed()) for _ in range(min(len(pieces), self._slot_count + 1))]
        try:
            await asyncio.gather(*tasks)
        finally:
            # One piece's failure, or the caller's going, ends the others.
            for task in tasks:
                task.cancel()
            self._hold(-sum(sizes))
            sizes.clear()
        return joined(answers, [len(next(iter(piece.values()))) for piece in pieces])

    def _hold(self, size: int) -> None:
        """Counts bytes that wait outside the queue."""
        with self._lock:
            self._queued_bytes += size

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
        self.check_room()
        self.counts.requests += 1
        entry = self._new_entry(signature, outputs, deadline, finish)
        with self._lock:
            self._coming += 1
        entry.coming = True

        def give(inputs: Tensors) -> None:
            with self._lock:
                if not entry.coming:
                    return
                entry.coming = False
                self._coming -= 1
                self._enqueue(entry, inputs)
                self._pump()

        def fail(error: BaseException) -> None:
            self._mailbox.post(answer_with, entry, error)

        give_up: GiveUp | None = None
        try:
            give_up = make(give, fail)
            return await self._answer(entry)
        finally:
            self._leave(entry)
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

        Where every core has a worker this is the quickest way: a picture goes from its bytes to its result on one
        core, and what waits in the queue is the bytes.

        Args:
            make: called on the worker's thread; what it raises fails this request only.
            like: tensors of the dtypes and shapes that it will return; the number of rows is not looked at.
            size: bytes that the request holds while it waits.
            finish: as in `run_when_made`.

        Raises:
            As `run`; whatever `make` raises.
        """
        self.check_room(size)
        self.counts.requests += 1
        entry = self._new_entry(signature, outputs, deadline, finish)
        entry.make, entry.rows, entry.bytes = make, 1, size
        entry.group = group_of(signature, outputs, like)
        with self._lock:
            self._admit(entry)
        return await self._answer_soon(entry)

    def close(self) -> None:
        """Refuses new requests and answers those that still wait with Unavailable. Running batches are left alone."""
        with self._lock:
            self._closed = True
            waiting = list(self._queue)
        for entry in waiting:
            self._leave(entry)
            answer_with(entry, Unavailable(f"{self._name} is being unloaded; try again"))

    async def _run_one(self, inputs: Tensors, signature: str, outputs: tuple[str, ...] | None, deadline: float) -> Any:
        entry = self._new_entry(signature, outputs, deadline, None)
        with self._lock:
            self._enqueue(entry, inputs)
        return await self._answer_soon(entry)

    async def _answer_soon(self, entry: Entry) -> Any:
        # Not at once: requests that arrive in the same turn of the loop share a batch.
        if not self._pump_planned:
            self._pump_planned = True
            self._loop.call_soon(self._planned_pump)
        try:
            return await self._answer(entry)
        finally:
            self._leave(entry)

    def _new_entry(
        self, signature: str, outputs: tuple[str, ...] | None, deadline: float, finish: Finish | None
    ) -> Entry:
        now = self._clock()
        if deadline <= now:
            self.counts.expired += 1
            raise DeadlineExceeded(f"the deadline had passed before the request reached the queue of {self._name}")
        entry = Entry(signature, outputs, finish, now, deadline, self._loop.create_future())
        if deadline != math.inf:
            entry.timer = self._loop.call_at(deadline, self._expire, entry)
        return entry

    async def _answer(self, entry: Entry) -> Any:
        try:
            return await entry.answer
        except asyncio.CancelledError:
            self.counts.cancelled += 1
            raise
        finally:
            if entry.timer is not None:
                entry.timer.cancel()

    def _expire(self, entry: Entry) -> None:
        self._leave(entry)
        if not entry.answer.done():
            self.counts.expired += 1
            entry.answer.set_exception(DeadlineExceeded(f"the deadline passed while {self._name} was busy"))

    def _leave(self, entry: Entry) -> None:
        """Takes an entry out, whether it is still coming or waits."""
        with self._lock:
            entry.gone = True
            if entry.coming:
                entry.coming = False
                self._coming -= 1
            self._dequeue(entry)

    def _planned_pump(self) -> None:
        self._pump_planned = False
        with self._lock:
            self._pump()

    # With the lock held, on any thread:

    def _enqueue(self, entry: Entry, inputs: Tensors) -> None:
        rows = common_rows(inputs)
        entry.inputs = inputs
        entry.bytes = sum(array.nbytes for array in inputs.values())
        # Without common rows it stands for a whole batch, so that nothing is padded or joined.
        entry.rows = self._limits.max_rows if rows is None else rows
        entry.group = object() if rows is None else group_of(entry.signature, entry.outputs, inputs)
        self._admit(entry)

    def _admit(self, entry: Entry) -> None:
        if self._closed:
            self._mailbox.post(answer_with, entry, Unavailable(f"{self._name} is being unloaded; try again"))
            return
        self._queue[entry] = None
        self._queued_bytes += entry.bytes

    def _dequeue(self, entry: Entry) -> None:
        if entry in self._queue:
            del self._queue[entry]
            self._queued_bytes -= entry.bytes

    def _pump(self) -> None:
        while self._idle and self._queue:
            job = self._next_job(self._idle[0])
            if job is None:
                return
            self._idle.pop(0).begin(job)

    def _next_job(self, slot: Slot) -> Job | None:
        if not self._queue:
            return None
        decision = decide(self._queue, self._clock(), 1, self._limits)
        # Those that expired are left to their timers, which belong to the loop and are due.
        if not decision.run:
            if decision.wake_at != math.inf:
                self._mailbox.post(self._wake_at, decision.wake_at)
            return None
        for entry in decision.run:
            self._dequeue(entry)
        return self._job(slot, decision.run)

    def _job(self, slot: Slot, batch: tuple[Entry, ...]) -> Job:
        def job(run: RunGraph) -> Job | None:
            results: dict[Entry, Any] = {}
            whole: list[Entry] = []
            failure: BaseException | None = None
            try:
                for entry in batch:
                    # Its deadline may have passed while those before it were made.
                    if not entry.gone:
                        refused = made(entry)
                        if refused is None:
                            whole.append(entry)
                        else:
                            results[entry] = refused
                if whole:
                    answers = self._run(run, whole)
                    results.update((entry, finished(entry, answers[at])) for at, entry in enumerate(whole))
            except BaseException as error:  # noqa: BLE001 - handed to the callers, which wait on the loop
                failure = error
                if len(whole) == 1:
                    results[whole[0]] = error
            with self._lock:
                if failure is not None and len(whole) > 1:
                    self._retry_singly(whole)
                following = self._next_job(slot)
                if following is None:
                    self._idle.append(slot)
            if results:
                self._mailbox.post(_answer_all, results)
            return following

        return job

    def _run(self, run: RunGraph, batch: Sequence[Entry]) -> list[Tensors]:
        rows = [entry.rows for entry in batch]
        size = self._limits.padded(sum(rows))
        with self._lock:
            self.counts.batches += 1
            self.counts.rows += sum(rows)
            self.counts.padded_rows += size - sum(rows)
        return run_batch(run, [entry.inputs for entry in batch], rows, size, batch[0].outputs)

    def _retry_singly(self, batch: Sequence[Entry]) -> None:
        """Puts the members at the head of the queue again, in their order, each in a group of its own."""
        for entry in reversed(batch):
            if not entry.gone:
                self.counts.retried += 1
                entry.group = object()
                self._queue[entry] = None
                self._queue.move_to_end(entry, last=False)
                self._queued_bytes += entry.bytes

    # On the loop:

    def _wake_at(self, when: float) -> None:
        if self._wake is not None:
            self._wake.cancel()
        self._wake = self._loop.call_at(when, self._planned_pump)


def _answer_all(results: Mapping[Entry, Any]) -> None:
    for entry, result in results.items():
        answer_with(entry, result)
