"""The queue in front of a model's instances: takes requests, gives batches to free slots, and returns the answers."""

from __future__ import annotations

import asyncio
import functools
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from cvserve.errors import DeadlineExceeded, Overloaded, Unavailable
from cvserve.serving.core.batching.admission import Admission, QueueCounts
from cvserve.serving.core.batching.execution import RunGraph, Tensors, common_rows, size_of
from cvserve.serving.core.batching.pieces import run_in_pieces
from cvserve.serving.core.batching.policy import BatchLimits, QueueBounds, decide
from cvserve.serving.core.batching.requests import Entry, Finish, Make, answer_all, priority_of
from cvserve.serving.core.batching.running import BatchRunner
from cvserve.serving.core.batching.throughput import ThroughputEstimate
from cvserve.serving.core.loop_callbacks import LoopCallbacks
from cvserve.serving.core.observer import TRACE, UNOBSERVED, VersionReport

Job = Callable[[RunGraph], Any]

Give = Callable[[Tensors], None]
Fail = Callable[[BaseException], None]
GiveUp = Callable[[], None]


class Slot(Protocol):
    """Runs batches: a `Worker`, or a double in tests."""

    def begin(self, job: Job) -> None:
        """Runs `job`, and then the job that it returns, until one returns None."""


class BatchQueue:
    """Queues requests and runs them in batches, chosen by `policy.decide`. Its public methods are called on the loop.

    A deadline or a cancellation acts from the moment of the call, by a timer of its own, so it is on time while a
    long batch runs, whether the request waits or is part of that batch. A request that is cancelled before its batch
    starts never runs. When a batch fails, its members run once more, each alone, so that one bad row fails only its
    own request.

    A lock guards what waits: a worker that has finished a batch takes the next one itself, and a thread that has
    decoded an image puts it into the queue itself, so that neither waits for the loop.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        limits: BatchLimits,
        bounds: QueueBounds,
        callbacks: LoopCallbacks,
        *,
        name: str,
        clock: Callable[[], float] = time.monotonic,
        report: VersionReport = UNOBSERVED,
    ) -> None:
        """
        Args:
            slots: one for each batch that may run at the same time.
            limits: how batches are formed.
            bounds: how much may wait.
            callbacks: run on the loop what workers and other threads hand over.
            name: what errors call the model.
            clock: the loop's time, readable on any thread (that of uvloop itself stands still while the loop sleeps).
            report: gets the queue's length, batches, stages and refusals.
        """
        self.counts = QueueCounts()
        self._loop = asyncio.get_running_loop()
        self._limits = limits
        self._bounds = bounds
        self._callbacks = callbacks
        self._name = name
        self._clock = clock
        self._report = report
        self._slots = len(slots)
        self._runner = BatchRunner(limits, clock, report)
        self._throughput = ThroughputEstimate(len(slots))
        self._admission = Admission(bounds, self._throughput, name=name, clock=clock, report=report, counts=self.counts)
        self._wake: asyncio.TimerHandle | None = None
        self._start_planned = False
        self._lock = threading.Lock()
        # Guarded by the lock:
        self._idle = list(slots)
        self._queue: OrderedDict[Entry, None] = OrderedDict()
        self._queued_bytes = 0
        self._coming = 0
        self._closed = False

    # ---- on the loop: requests

    @property
    def waiting(self) -> int:
        """The number of requests (or pieces of large ones) that wait for a slot, also of those still being decoded."""
        return len(self._queue) + self._coming

    @property
    def queued_bytes(self) -> int:
        """The number of bytes of what waits."""
        return self._queued_bytes

    def check_room(self, size: int = 0, deadline: float = math.inf) -> None:
        """Checks, before any work is done for a request of `size` bytes, that there is room for it.

        Raises:
            Overloaded: the queue is full, or so long that the deadline would pass in it.
            Unavailable: the model is being unloaded.
        """
        if self._closed:
            raise self._unloading()
        self._admission.check(self.waiting, self._queued_bytes, size, deadline)

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
            inputs: by name. If their first dimensions are equal they are rows, which are batched with those of others,
                and split over several batches where one batch cannot hold them; otherwise the request runs alone.
            signature: only requests of the same signature share a batch.
            outputs: which outputs are wanted; None: all.
            deadline: in the loop's time.
            alone: whether the first dimensions are not rows, so that the request runs alone and is not split.

        Returns:
            The outputs by name.

        Raises:
            Overloaded, Unavailable, DeadlineExceeded; whatever the graph raises.
        """
        self.check_room(size_of(inputs), deadline)
        self.counts.requests += 1
        rows = None if alone else common_rows(inputs)
        names = None if outputs is None else tuple(outputs)
        if rows is not None and rows > self._limits.max_rows:
            return await run_in_pieces(
                inputs,
                rows,
                max_rows=self._limits.max_rows,
                at_once=self._slots + 1,
                run=lambda piece, count: self._run_piece(piece, count, signature, names, deadline),
                count_bytes=self._count_bytes,
            )
        return await self._run_piece(inputs, rows, signature, names, deadline)

    async def run_when_made(
        self,
        make: Callable[[Give, Fail], GiveUp],
        *,
        signature: str = "serving_default",
        outputs: tuple[str, ...] | None = None,
        deadline: float = math.inf,
        finish: Finish | None = None,
    ) -> Any:
        """Queues a request whose tensors, of one row, are made on another thread, and waits for its answer.

        Args:
            make: starts the work. It must call its first argument with the tensors or its second with an error, on any
                thread, and returns a function that cancels the work.
            finish: called with the outputs on the worker's thread, for work that must not block the loop. Its result is
                the answer.

        Returns:
            The result of `finish`, or the outputs.

        Raises:
            As `run`; what `make` raises, or gives to its second argument.
        """
        self.check_room(0, deadline)
        self.counts.requests += 1
        entry = self._new_entry(signature, outputs, deadline, finish)
        entry.coming = True
        with self._lock:
            self._coming += 1
        try:
            give_up = make(functools.partial(self._arrived, entry), functools.partial(self._not_made, entry))
        except BaseException as error:
            entry.stop_timers()
            self._remove(entry)
            if isinstance(error, Overloaded):
                self._report.rejected("decode full")
            raise
        try:
            return await self._answer_of(entry)
        finally:
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
        """Queues a request whose tensors, of one row, are made by the worker that runs it, and waits for its answer.

        Where every core has a worker this is the fastest way: one core turns the bytes of an image into its result, and
        only the bytes wait in the queue.

        Args:
            make: called on the worker's thread; an error of it makes only this request fail.
            like: tensors of the dtypes and shapes that it will return; their number of rows is ignored.
            size: bytes that the request holds while it waits.
            finish: as in `run_when_made`.

        Raises:
            As `run`; whatever `make` raises.
        """
        self.check_room(size, deadline)
        self.counts.requests += 1
        entry = self._new_entry(signature, outputs, deadline, finish)
        entry.fill_later(make, like, size)
        return await self._enqueue(entry)

    def close(self) -> None:
        """Refuses new requests and answers those that still wait with Unavailable. Running batches go on."""
        if self._wake is not None:
            self._wake.cancel()
        with self._lock:
            self._closed = True
            waiting = list(self._queue)
        for entry in waiting:
            self._remove(entry)
            entry.answer_with(self._unloading())

    async def _run_piece(
        self, inputs: Tensors, rows: int | None, signature: str, outputs: tuple[str, ...] | None, deadline: float
    ) -> Tensors:
        entry = self._new_entry(signature, outputs, deadline, None)
        entry.fill(inputs, rows, self._limits.max_rows)
        answer: Tensors = await self._enqueue(entry)
        return answer

    def _new_entry(
        self, signature: str, outputs: tuple[str, ...] | None, deadline: float, finish: Finish | None
    ) -> Entry:
        now = self._clock()
        if deadline <= now:
            self._expired()
            raise DeadlineExceeded(f"the deadline had passed before the request reached the queue of {self._name}")
        entry = Entry(signature, outputs, finish, now, deadline, self._loop.create_future(), TRACE.get())
        bounds = self._bounds
        if bounds.priority_levels:
            entry.priority = priority_of(bounds.priority_levels, bounds.default_priority)
        if bounds.seconds != math.inf:
            entry.queue_timer = self._loop.call_at(now + bounds.seconds, self._waited_too_long, entry)
        if deadline != math.inf:
            entry.deadline_timer = self._loop.call_at(deadline, self._deadline_passed, entry)
        return entry

    async def _enqueue(self, entry: Entry) -> Any:
        with self._lock:
            self._admit(entry)
        # Batches start at the end of this turn of the loop, so that requests that arrive in it share a batch.
        if not self._start_planned:
            self._start_planned = True
            self._loop.call_soon(self._start_now)
        return await self._answer_of(entry)

    async def _answer_of(self, entry: Entry) -> Any:
        try:
            return await entry.answer
        except asyncio.CancelledError:
            self.counts.cancelled += 1
            self._report.rejected("cancelled")
            raise
        finally:
            entry.stop_timers()
            self._remove(entry)

    def _unloading(self) -> Unavailable:
        return Unavailable(f"{self._name} is being unloaded; try again")

    def _expired(self) -> None:
        self.counts.expired += 1
        self._report.rejected("expired")

    def _deadline_passed(self, entry: Entry) -> None:
        self._remove(entry)
        if not entry.answer.done():
            self._expired()
            entry.answer_with(DeadlineExceeded(f"the deadline passed while {self._name} was busy"))

    def _waited_too_long(self, entry: Entry) -> None:
        if not entry.answer.done() and (entry.coming or entry in self._queue):
            self._remove(entry)
            self._expired()
            entry.answer_with(
                DeadlineExceeded(
                    f"the request waited {self._bounds.seconds * 1000:g} ms for {self._name}, "
                    "which is all that its queue_timeout_ms allows"
                )
            )

    def _start_now(self) -> None:
        self._start_planned = False
        with self._lock:
            self._start_batches()

    def _wake_at(self, when: float) -> None:
        if self._wake is not None:
            self._wake.cancel()
        if not self._closed:
            self._wake = self._loop.call_at(when, self._start_now)

    # ---- on any thread

    def _arrived(self, entry: Entry, inputs: Tensors) -> None:
        """Puts an entry whose tensors have been made into the queue, unless it was cancelled meanwhile."""
        with self._lock:
            if not entry.coming:
                return
            entry.coming = False
            self._coming -= 1
            entry.fill(inputs, common_rows(inputs), self._limits.max_rows)
            self._admit(entry)
            self._start_batches()
        if entry.trace is not None:
            entry.trace("decode", entry.enqueued, entry.admitted)

    def _not_made(self, entry: Entry, error: BaseException) -> None:
        self._callbacks.post(entry.answer_with, error)

    def _count_bytes(self, size: int) -> None:
        """Counts bytes that wait outside the queue."""
        with self._lock:
            self._queued_bytes += size

    def _remove(self, entry: Entry) -> None:
        """Removes an entry whose answer is not wanted any more, whether it is being made, waits or runs."""
        with self._lock:
            entry.gone = True
            if entry.coming:
                entry.coming = False
                self._coming -= 1
            if entry in self._queue:
                self._take(entry)
                self._report.queue(self.waiting)

    def _run_job(self, slot: Slot, batch: Sequence[Entry], capacity: int, lone: bool, graph: RunGraph) -> Job | None:
        """Runs a batch on a worker's thread and returns the next job of its slot.

        Args:
            slot: the slot that runs it.
            batch: the entries to run.
            capacity: the number of requests that the batch could have held.
            lone: whether no other batch runs or waits.
            graph: the graph of the worker.
        """
        began = self._clock()
        outcome = self._runner.run(graph, batch, lone=lone)
        self._throughput.took(self._clock() - began, capacity)
        with self._lock:
            if outcome.ran:
                self.counts.batches += 1
                self.counts.rows += outcome.rows
                self.counts.padded_rows += outcome.padding
            self._retry_singly(outcome.retry)
            following = self._next_job(slot, others=self._slots - len(self._idle) - 1)
            if following is None:
                self._idle.append(slot)
        if outcome.answers:
            self._callbacks.post(answer_all, outcome.answers)
        return following

    # ---- with the lock

    def _admit(self, entry: Entry) -> None:
        if self._closed:
            self._callbacks.post(entry.answer_with, self._unloading())
            return
        self._queue[entry] = None
        self._queued_bytes += entry.bytes
        entry.admitted = self._clock()
        self._report.queue(self.waiting)

    def _take(self, entry: Entry) -> None:
        del self._queue[entry]
        self._queued_bytes -= entry.bytes

    def _start_batches(self) -> None:
        while self._idle and self._queue:
            job = self._next_job(self._idle[0], others=self._slots - len(self._idle))
            if job is None:
                return
            self._idle.pop(0).begin(job)

    def _next_job(self, slot: Slot, others: int) -> Job | None:
        """Returns the next batch of a free slot, as a job. others: the number of slots that run batches."""
        if not self._queue:
            return None
        queue: Iterable[Entry] = self._queue
        if self._bounds.priority_levels:
            # The sort is stable: of two entries with the same priority the older one goes first.
            queue = sorted(queue, key=lambda entry: entry.priority)
        decision = decide(queue, self._clock(), 1, self._limits)
        # Expired entries are removed by their timers, which run on the loop.
        if not decision.run:
            if decision.wake_at != math.inf:
                self._callbacks.post(self._wake_at, decision.wake_at)
            return None
        for entry in decision.run:
            self._take(entry)
        self._report.queue(self.waiting)
        lone = len(decision.run) == 1 and not others and not self.waiting
        capacity = len(decision.run) if self._queue else self._capacity_for(decision.run)
        return functools.partial(self._run_job, slot, decision.run, capacity, lone)

    def _capacity_for(self, batch: Sequence[Entry]) -> int:
        """Returns the number of requests like these that the batch could have held, in the same time or little more.

        The time of a batch that is not full, divided by its own requests only, would overestimate the time that each
        request of a long queue takes.
        """
        if not self._limits.batching:
            return len(batch)
        return len(batch) * self._limits.max_rows // max(1, sum(entry.rows for entry in batch))

    def _retry_singly(self, batch: Sequence[Entry]) -> None:
        """Puts the members at the head of the queue again, in their order, each in its own group, so that they run
        alone."""
        for entry in reversed(batch):
            if not entry.gone:
                self.counts.retried += 1
                entry.group = object()
                # It runs alone, so it must not wait for other requests.
                entry.enqueued = -math.inf
                entry.admitted = self._clock()
                self._queue[entry] = None
                self._queue.move_to_end(entry, last=False)
                self._queued_bytes += entry.bytes
