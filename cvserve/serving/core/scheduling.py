"""Which threads may take a core from which (Linux; nothing elsewhere)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path

HURRY_SECONDS = 0.2
"""After the last refusal."""

GRPC_THREADS = ("event_engine", "lifeguard")
"""What gRPC calls its own threads, which read and write for the loop, and the one that starts more of them."""


def stand_back(thread: int = 0) -> None:
    """A thread of this process, and those that it starts, wait for the end of a slice rather than take a core at once.

    For the threads that move messages. Otherwise every message that comes takes a core from a graph, and with it what
    the graph has in the cache: on 2 cores that cost 6 % of all answers. Where a core is idle nothing waits.

    Args:
        thread: the system's number; 0: this one.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.sched_setscheduler(thread, os.SCHED_BATCH, os.sched_param(0))


def step_forward(thread: int = 0) -> None:
    """A thread of this process, and those that it starts, take cores as usual. thread: as of `stand_back`.

    For the threads of graphs: an operation that is shared out among several waits for the last of them.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


def stands_back(thread: int = 0) -> bool:
    """Whether a thread does. thread: as of `stand_back`; one that has ended does not."""
    if sys.platform != "linux":
        return False
    try:
        return os.sched_getscheduler(thread) == os.SCHED_BATCH
    except OSError:
        return False


def grpc_threads() -> list[int]:
    """The system's numbers of `GRPC_THREADS` in this process."""
    found = []
    with contextlib.suppress(OSError):
        for entry in Path("/proc/self/task").iterdir():
            with contextlib.suppress(OSError):  # it has ended
                if (entry / "comm").read_text().strip() in GRPC_THREADS:
                    found.append(int(entry.name))
    return found


class Hurry:
    """Lets an event loop's thread that stands back, and gRPC's own, take cores at once while it refuses requests.

    A refusal that waits for the end of a graph's slice comes late, and under overload the loop has several requests to
    take in a slice. On 2 cores, offered three times what it could answer, the server refused within 0.9 to 1.1 ms
    (median; 99 % within 8 to 11) instead of 2.5 to 2.8 (13), and answered as much.
    """

    def __init__(self) -> None:
        self._until = 0.0
        self._on = False

    def refused(self) -> None:
        """To be called at each refusal; on other threads than a loop's it does nothing."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._until = loop.time() + HURRY_SECONDS
        if not self._on and stands_back():
            self._on = True
            for thread in (0, *grpc_threads()):
                step_forward(thread)
            loop.call_at(self._until, self._look)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() < self._until:
            loop.call_at(self._until, self._look)
        else:
            self._on = False
            # Those too that have been started meanwhile.
            for thread in (0, *grpc_threads()):
                stand_back(thread)
