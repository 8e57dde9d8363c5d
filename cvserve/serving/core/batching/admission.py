"""Decides whether a request is let into a queue: there must be room, and time to answer it before its deadline."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from cvserve.errors import Overloaded
from cvserve.serving.core.batching.policy import QueueBounds
from cvserve.serving.core.batching.throughput import ThroughputEstimate
from cvserve.serving.core.observer import VersionReport

USABLE_FRACTION = 0.6
"""The queue in front of a request may take at most this fraction of the time to its deadline. The rest is for its own
run, its answer, and the server's other work under such a load. A longer queue would not answer more requests, it would
only answer them later."""


@dataclass
class QueueCounts:
    """Counts what a queue has done so far."""

    requests: int = 0
    batches: int = 0
    rows: int = 0
    padded_rows: int = 0
    rejected: int = 0
    expired: int = 0
    cancelled: int = 0
    retried: int = 0


class Admission:
    """Refuses requests for which there is no room, or whose deadline cannot be met."""

    def __init__(
        self,
        bounds: QueueBounds,
        throughput: ThroughputEstimate,
        counts: QueueCounts,
        *,
        name: str,
        clock: Callable[[], float],
        report: VersionReport,
    ) -> None:
        """
        Args:
            bounds: how much may wait.
            throughput: how fast the queue moves.
            counts: the counts of the queue.
            name: what errors call the model.
            clock: the loop's time, readable on any thread.
            report: gets the refusals.
        """
        self._bounds = bounds
        self._throughput = throughput
        self._counts = counts
        self._name = name
        self._clock = clock
        self._report = report

    def check(self, waiting: int, queued_bytes: int, size: int, deadline: float) -> None:
        """Checks a request of `size` bytes that comes while `waiting` requests of `queued_bytes` wait.

        Raises:
            Overloaded: the queue is full, or so long that the deadline would pass in it.
        """
        # One request is let into an empty queue whatever its size: the limits on messages have already passed it.
        if not waiting:
            return
        if deadline != math.inf and not self._bounds.priority_levels:
            # A request that is let in and then expires has taken the place of another one. Under overload the queue is
            # as long as it may be, so all requests would expire: the server would work for clients that have gone.
            remaining = deadline - self._clock()
            needed = self._throughput.at_best(waiting + 1)
            if needed is not None and 0 < remaining * USABLE_FRACTION < needed:
                text = (
                    f"{waiting} requests wait for {self._name}, which takes {needed:.2g} s: too long for the "
                    f"{remaining:.2g} s that this one has left; try again later"
                )
                raise self._refused("hopeless", text, waiting)
        if waiting >= self._bounds.requests or queued_bytes + size > self._bounds.bytes:
            text = (
                f"the queue of {self._name} is full: {waiting} requests of {queued_bytes >> 20} MiB wait; "
                "try again later"
            )
            raise self._refused("queue full", text, waiting)

    def _refused(self, reason: str, text: str, waiting: int) -> Overloaded:
        self._counts.rejected += 1
        self._report.rejected(reason)
        return Overloaded(text, self._throughput.wait(waiting))
