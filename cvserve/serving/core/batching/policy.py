"""Decides which waiting requests run next: a pure function of the queue, the clock and the free slots.

As in Triton, a slot must be free before a batch is formed. While every slot is busy nothing is decided, so batches
grow by themselves under load, and with delay 0 a single request never waits. Requests are batched only with those of
their own group (signature, dtype and shape), so that a request with an unusual shape cannot make the others fail.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from cvserve.errors import InvalidInput


class Waiting(Protocol):
    """Lists what the policy reads of a request. Times are in seconds, of the same clock as `now`."""

    @property
    def group(self) -> Hashable:
        """The key of the requests that can share a batch with this one."""

    @property
    def rows(self) -> int:
        """The number of rows that it takes in a batch."""

    @property
    def enqueued(self) -> float:
        """The time when it came."""

    @property
    def deadline(self) -> float:
        """The time after which its answer is not wanted any more; math.inf: none."""


Entry = TypeVar("Entry", bound=Waiting)


@dataclass(frozen=True)
class BatchLimits:
    """Limits how batches are formed.

    Attributes:
        max_rows: the rows of the largest batch.
        delay: seconds that a batch which is not full may wait for more requests while a slot is free.
        allowed_rows: ascending sizes that batches are padded to, the last of which is max_rows; empty: no padding.
        batching: False runs every request alone.
    """

    max_rows: int
    delay: float = 0.0
    allowed_rows: tuple[int, ...] = ()
    batching: bool = True

    def __post_init__(self) -> None:
        if self.max_rows < 1:
            raise InvalidInput(f"max_batch_size must be at least 1, not {self.max_rows}")
        if not 0 <= self.delay <= 60:
            raise InvalidInput(f"the batch delay must be 0 to 60 seconds, not {self.delay}")
        if self.allowed_rows:
            if list(self.allowed_rows) != sorted(set(self.allowed_rows)) or self.allowed_rows[0] < 1:
                raise InvalidInput(f"allowed_batch_sizes must ascend from at least 1: {list(self.allowed_rows)}")
            if self.allowed_rows[-1] != self.max_rows:
                # The sentence of TensorFlow Serving.
                raise InvalidInput("Last entry in allowed_batch_sizes must match max_batch_size")

    def padded(self, rows: int) -> int:
        """Returns the size that a batch of `rows` is padded to."""
        return next((size for size in self.allowed_rows if size >= rows), rows)


@dataclass(frozen=True)
class QueueBounds:
    """Limits what may wait in a queue.

    Attributes:
        requests: the largest number of requests.
        bytes: the largest number of bytes of their tensors or encoded images.
        seconds: the longest time that a request may wait.
        priority_levels: the number of priorities, of which 1 goes first; 0: none.
        default_priority: the priority of requests that give none.
    """

    requests: int = 256
    bytes: int = 512 << 20
    seconds: float = math.inf
    priority_levels: int = 0
    default_priority: int = 0


@dataclass(frozen=True)
class Decision(Generic[Entry]):
    """Holds what to run now. wake_at: where nothing is to run, the time to decide again at the latest; math.inf: only
    when something else happens."""

    run: tuple[Entry, ...]
    wake_at: float


@dataclass
class _Batch(Generic[Entry]):
    members: list[Entry]
    rows: int
    full: bool = False


def decide(queue: Iterable[Entry], now: float, free_slots: int, limits: BatchLimits) -> Decision[Entry]:
    """Chooses one batch for one free slot.

    Args:
        queue: the waiting requests, oldest first.
        now: the clock, in seconds.
        free_slots: the number of batches that could start now; with 0 nothing is chosen.
        limits: how batches are formed.

    Returns:
        The batch to start (possibly none), and when to decide again. Of the groups that may start, the one with the
        oldest request starts. A request that does not fit any more waits for the next batch and keeps its place at the
        head; smaller requests behind it may fill the gap. Requests whose deadline has passed are skipped. Once the
        first batch is full, the rest of the queue is not read, since it may be long.
    """
    batches: dict[Hashable, _Batch[Entry]] = {}
    first: _Batch[Entry] | None = None
    wake_at = math.inf
    for entry in queue:
        if entry.deadline <= now:
            continue
        wake_at = min(wake_at, entry.deadline)
        if not free_slots:
            continue
        batch = batches.get(entry.group)
        if batch is None:
            batch = _Batch([entry], entry.rows, not limits.batching or entry.rows >= limits.max_rows)
            batches[entry.group] = batch
            first = first or batch
        elif limits.batching and batch.rows + entry.rows <= limits.max_rows:
            batch.members.append(entry)
            batch.rows += entry.rows
            batch.full |= batch.rows == limits.max_rows
        else:
            batch.full = True
        if batch is first and (batch.rows >= limits.max_rows or not limits.batching):
            return Decision(tuple(batch.members), math.inf)
    for batch in batches.values():
        starts_at = batch.members[0].enqueued + limits.delay
        # A request whose deadline would pass during the delay is not delayed.
        if batch.full or starts_at <= now or any(member.deadline <= starts_at for member in batch.members):
            return Decision(tuple(batch.members), math.inf)
        wake_at = min(wake_at, starts_at)
    return Decision((), wake_at)
