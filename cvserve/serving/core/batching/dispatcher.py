"""The queue in front of a model's instances, and the hand-over of batches to them: `batch_policy` put to work."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from cvserve.errors import OutOfMemory, Overloaded, Unavailable
from cvserve.serving.core.batching.bounds import BatcherCounts, QueueBounds
from cvserve.serving.core.batching.execution import RunGraph, Tensors, entry_point, run_batch, size_of
from cvserve.serving.core.batching.policy import BatchLimits, decide
from cvserve.serving.core.batching.requests import Entry, answer_with, finished, group_of, made
from cvserve.serving.core.batching.throughput import Pace
from cvserve.serving.core.mailbox import PATIENCE_SECONDS, Mailbox
from cvserve.serving.core.observer import VersionReport
from cvserve.serving.core.scheduling import Hurry

HOPEFUL = 0.6
"""A request is let in if the queue before it takes this share of its time at most: the rest is for its own run, its
answer, and what the server does besides under such a load. A longer queue would answer no more requests, only later."""

DEEP = 4
"""So many full batches wait for each slot of a deep queue. In a shorter one new requests are wanted soon: with 1, a
load of 0.75 to 0.8 of the capacity had a 95th percentile up to twice as long."""

LEAST_LEFT_SECONDS = 2 * PATIENCE_SECONDS
"""An answer that must be there sooner does not wait for company on its way."""

Job = Callable[[RunGraph], Any]

_HURRY = Hurry()


class Slot(Protocol):
    """Where a batch runs: a `Worker`, or a puppet in tests."""

    def begin(self, job: Job) -> None: ...


class Dispatcher:
    """Entries in, batches out, answers back through the mailbox. Its methods may be called on any thread.

    The queue is behind a lock: a worker that has ended a batch forms the next one itself, and a decoding thread puts
    its image into the queue itself, so that neither waits for the event loop, which only sees requests come and
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
        clock: Callable[[], float],
        report: VersionReport,
        wake_at: Callable[[float], None],
    ) -> None:
        """
        Args:
            wake_at: called on the loop when the queue is to be looked at again at that time (by `pump`).
            Others: see `Batcher`.
        """
        self.limits = limits
        self.slots = len(slots)
        self.counts = BatcherCounts()
        self._mailbox = mailbox
        self.bounds = bounds
        self._name = name
        self._clock = clock
        self._report = report
        self._wake_at = wake_at
        self._pace = Pace(len(slots))
        self.refused_at = -math.inf
        """When the last request was refused for want of room."""
        self._lock = threading.Lock()
        # Behind the lock:
        self._idle = list(slots)
        self._queue: OrderedDict[Entry, None] = OrderedDict()
        self._queued_bytes = 0
        self._coming = 0
        self._closed = False

    @property
    def waiting(self) -> int:
        """Entries that wait for a slot, those still being decoded included."""
        return len(self._queue) + self._coming

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait."""
        return self._queued_bytes

    def check_room(self, size: int = 0, deadline: float = math.inf) -> None:
        """See `Batcher.check_room`."""
        if self._closed:
            raise self.unloading()
        waiting = self.waiting
        if waiting and deadline != math.inf and not self.bounds.priority_levels:
            self._check_hope(waiting, deadline - self._clock())
        # One request is let into an empty queue whatever its size: the limits on messages have already passed it.
        if waiting and (waiting >= self.bounds.requests or self._queued_bytes + size > self.bounds.bytes):
            self._refused("queue full")
            raise Overloaded(
                f"the queue of {self._name} is full: {waiting} requests of {self._queued_bytes >> 20} MiB wait; "
                "try again later",
                self._pace.wait(waiting),
            )

    def _check_hope(self, waiting: int, left: float) -> None:
        # Whatever is let in and expires has cost its place, and under overload all would, since the queue is then as
        # long as it may be: the server would work for clients that have gone.
        needed = self._pace.at_best(waiting + 1)
        if needed is not None and 0 < left * HOPEFUL < needed:
            self._refused("hopeless")
            raise Overloaded(
                f"{waiting} requests wait for {self._name}, which takes {needed:.2g} s: too long for the {left:.2g} s "
                "that this one has left; try again later",
                self._pace.wait(waiting),
            )

    def _refused(self, reason: str) -> None:
        self.refused_at = self._clock()
        self.counts.rejected += 1
        self._report.rejected(reason)
        _HURRY.refused()

    def unloading(self) -> Unavailable:
        """What those hear who come too late."""
        return Unavailable(f"{self._name} is being unloaded; try again")

    def hold(self, size: int) -> None:
        """Counts bytes that wait outside the queue."""
        with self._lock:
            self._queued_bytes += size

    def expect(self, entry: Entry) -> None:
        """The entry's tensors are being made elsewhere; it has its place already."""
        with self._lock:
            self._coming += 1
        entry.coming = True

    def arrive(self, entry: Entry, inputs: Tensors, rows: int | None) -> bool:
        """The tensors of an expected entry are there. Returns False if it was given up meanwhile."""
        with self._lock:
            if not entry.coming:
                return False
            entry.coming = False
            self._coming -= 1
            self._fill(entry, inputs, rows)
            self._admit(entry)
            self._pump()
        return True

    def add(self, entry: Entry, inputs: Tensors, rows: int | None) -> None:
        """Puts an entry into the queue; `pump` starts it. rows: None if the first dimensions are no rows."""
        with self._lock:
            self._fill(entry, inputs, rows)
            self._admit(entry)

    def add_unmade(self, entry: Entry, like: Tensors, size: int) -> None:
        """Puts an entry of one row into the queue, whose `make` gives tensors `like` these."""
        entry.rows, entry.bytes = 1, size
        entry.group = group_of(entry.signature, entry.outputs, like)
        with self._lock:
            self._admit(entry)

    def leave(self, entry: Entry) -> None:
        """Takes an entry out, whether it is still coming or waits."""
        with self._lock:
            entry.gone = True
            if entry.coming:
                entry.coming = False
                self._coming -= 1
            if entry in self._queue:
                self._dequeue(entry)
                self._report.queue(self.waiting)

    def leave_queue(self, entry: Entry) -> bool:
        """Takes an entry out if it still waits or is coming, and says whether it did."""
        with self._lock:
            if not entry.coming and entry not in self._queue:
                return False
        self.leave(entry)
        return True

    def pump(self) -> None:
        """Starts what may start now."""
        with self._lock:
            self._pump()

    def close(self) -> list[Entry]:
        """Lets nobody in any more, and returns those that wait."""
        with self._lock:
            self._closed = True
            # It leads back to the batcher: a circle that would keep both, and a model with them, for the collector.
            self._wake_at = _nobody
            return list(self._queue)

    # With the lock held:

    def _fill(self, entry: Entry, inputs: Tensors, rows: int | None) -> None:
        entry.inputs = inputs
        entry.bytes = size_of(inputs)
        # Without common rows it stands for a whole batch, so that nothing is padded or joined.
        entry.alone = rows is None
        entry.rows = self.limits.max_rows if rows is None else rows
        entry.group = object() if rows is None else group_of(entry.signature, entry.outputs, inputs)

    def _admit(self, entry: Entry) -> None:
        if self._closed:
            self._mailbox.post(answer_with, entry, self.unloading())
            return
        self._queue[entry] = None
        self._queued_bytes += entry.bytes
        entry.admitted = self._clock()
        self._report.queue(self.waiting)

    def _dequeue(self, entry: Entry) -> None:
        if entry in self._queue:
            del self._queue[entry]
            self._queued_bytes -= entry.bytes

    def _pump(self) -> None:
        while self._idle and self._queue:
            job = self._next_job(self._idle[0], others=self.slots - len(self._idle))
            if job is None:
                return
            self._idle.pop(0).begin(job)

    def _next_job(self, slot: Slot, others: int) -> Job | None:
        # others: slots that are at work.
        if not self._queue:
            return None
        queue: Iterable[Entry] = self._queue
        if self.bounds.priority_levels:
            # Stable: the older of two equals goes first.
            queue = sorted(queue, key=_priority)
        decision = decide(queue, self._clock(), 1, self.limits)
        # Those that expired are left to their timers, which belong to the loop and are due.
        if not decision.run:
            if decision.wake_at != math.inf:
                self._mailbox.post(self._wake_at, decision.wake_at)
            return None
        for entry in decision.run:
            self._dequeue(entry)
        self._report.queue(self.waiting)
        lone = len(decision.run) == 1 and not others and not self.waiting
        fitting = len(decision.run) if self._queue else self._would_fit(decision.run)
        return self._job(slot, decision.run, fitting, lone)

    def _would_fit(self, batch: Sequence[Entry]) -> int:
        """How many requests like these the batch would have taken in the same time or little more, had they been
        there: what lone requests take tells how long batches take, not how long each request of a queue does."""
        if not self.limits.batching:
            return len(batch)
        return len(batch) * self.limits.max_rows // max(1, sum(entry.rows for entry in batch))

    def _company(self) -> int:
        """For how many answers one may wait: half as many as wait in the queue, so that an answer is delayed by half of
        what its request has waited there; none where the queue is not deep."""
        waiting = len(self._queue)
        return waiting // 2 if waiting >= DEEP * self.slots * self.limits.max_rows else 0

    def _retry_singly(self, batch: Sequence[Entry]) -> None:
        """Puts the members at the head of the queue again, in their order, each in a group of its own."""
        for entry in reversed(batch):
            if not entry.gone:
                self.counts.retried += 1
                entry.group = object()
                # Alone it has no company to wait for.
                entry.enqueued = -math.inf
                entry.admitted = self._clock()
                self._queue[entry] = None
                self._queue.move_to_end(entry, last=False)
                self._queued_bytes += entry.bytes

    # On a worker's thread:

    def _job(self, slot: Slot, batch: tuple[Entry, ...], fitting: int, lone: bool) -> Job:
        # fitting: as many requests as this batch would have held. lone: nothing else runs or waits.
        def job(run: RunGraph) -> Job | None:
            results: dict[Entry, Any] = {}
            whole: list[Entry] = []
            failure: BaseException | None = None
            began = self._clock()
            try:
                for entry in batch:
                    self._report.stage("queue", began - entry.admitted)
                    if entry.traced is not None:
                        entry.traced("queue", entry.admitted, began)
                    # Its deadline may have passed while those before it were made.
                    if not entry.gone:
                        refused = self._made(entry)
                        if refused is None:
                            whole.append(entry)
                        else:
                            results[entry] = refused
                if whole:
                    answers = self._run(run, whole, lone)
                    self._finish(whole, answers, results)
            except BaseException as error:  # noqa: BLE001 - handed to the callers, which wait on the loop
                failure = error
                if len(whole) == 1 or self._no_smaller(whole, error):
                    results |= dict.fromkeys(whole, error)
                    whole.clear()
            self._pace.took(self._clock() - began, fitting)
            with self._lock:
                if failure is not None:
                    self._retry_singly(whole)
                following = self._next_job(slot, others=self.slots - len(self._idle) - 1)
                if following is None:
                    self._idle.append(slot)
                company = self._company() if following is not None else 0
            if results and company and self._can_wait(results):
                self._mailbox.post_patiently(len(results), company, _answer_all, results)
            elif results:
                self._mailbox.post(_answer_all, results)
            return following

        return job

    def _no_smaller(self, batch: Sequence[Entry], error: BaseException) -> bool:
        """Whether there was no memory for the batch, and no member would run in a smaller one by itself."""
        size = self.limits.padded(sum(entry.rows for entry in batch))
        return isinstance(error, OutOfMemory) and all(self.limits.padded(entry.rows) == size for entry in batch)

    def _can_wait(self, entries: Iterable[Entry]) -> bool:
        latest = self._clock() + LEAST_LEFT_SECONDS
        return all(entry.deadline > latest for entry in entries)

    def _run(self, run: RunGraph, batch: Sequence[Entry], lone: bool) -> list[Tensors]:
        rows = [entry.rows for entry in batch]
        size = self.limits.padded(sum(rows))
        count, padded = (1, 0) if batch[0].alone else (sum(rows), size - sum(rows))
        with self._lock:
            self.counts.batches += 1
            self.counts.rows += count
            self.counts.padded_rows += padded
        self._report.batch(count, count + padded)
        began = self._clock()
        graph = entry_point(run, batch[0].signature, lone=lone)
        answers = run_batch(graph, [entry.inputs for entry in batch], rows, size, batch[0].outputs)
        ended = self._clock()
        self._report.stage("run", ended - began)
        for entry in batch:
            if entry.traced is not None:
                entry.traced("run", began, ended)
        return answers

    def _made(self, entry: Entry) -> Any:
        """See `made`."""
        if entry.make is None or entry.traced is None:
            return made(entry)
        began = self._clock()
        refused = made(entry)
        entry.traced("decode", began, self._clock())
        return refused

    def _finish(self, batch: Sequence[Entry], answers: Sequence[Tensors], results: dict[Entry, Any]) -> None:
        for entry, answer in zip(batch, answers, strict=True):
            if entry.finish is None:
                results[entry] = answer
            else:
                began = self._clock()
                results[entry] = finished(entry, answer)
                ended = self._clock()
                self._report.stage("postprocess", ended - began)
                if entry.traced is not None:
                    entry.traced("postprocess", began, ended)


def _nobody(when: float) -> None:
    """Is woken when the queue is closed."""


def _priority(entry: Entry) -> int:
    return entry.priority


def _answer_all(results: Mapping[Entry, Any]) -> None:
    for entry, result in results.items():
        answer_with(entry, result)
