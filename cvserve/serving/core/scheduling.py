"""Which threads may take a core from which (Linux; nothing elsewhere)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from pathlib import Path

HURRY_SECONDS = 0.2
"""After the last refusal."""


def stand_back() -> None:
    """This thread, and those that it starts, wait for the end of a slice rather than take a core at once.

    For the threads that move messages. Otherwise every message that comes takes a core from a graph, and with it what
    the graph has in the cache: on 2 cores that cost 6 % of all answers. Where a core is idle nothing waits.
    """
    _stand_back(0)


def step_forward() -> None:
    """This thread, and those that it starts, take cores as usual.

    For the threads of graphs: an operation that is shared out among several waits for the last of them.
    """
    _step_forward(0)


class Hurry:
    """Lets an event loop's thread that stands back, and gRPC's own that read and write for it, take cores at once while
    it refuses requests.

    A refusal that waits for the end of a graph's slice comes late, and under overload the loop has several requests to
    take in a slice. On 2 cores, offered three times what it could answer, the server refused within 2.0 to 2.2 ms
    (median) instead of 2.4 to 3.3.
    """

    def __init__(self) -> None:
        self._until = 0.0
        self._on = False
        self._others: list[int] = []

    def refused(self) -> None:
        """To be called at each refusal; on other threads than a loop's it does nothing."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._until = loop.time() + HURRY_SECONDS
        if not self._on and stands_back():
            self._on = True
            self._others = standing_back_beside_python()
            for thread in (0, *self._others):
                _step_forward(thread)
            loop.call_at(self._until, self._look)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() < self._until:
            loop.call_at(self._until, self._look)
        else:
            self._on = False
            for thread in (0, *self._others):
                _stand_back(thread)


def stands_back(thread: int = 0) -> bool:
    """Whether a thread of this process does; 0: this one. False if it has ended."""
    if sys.platform != "linux":
        return False
    try:
        return os.sched_getscheduler(thread) == os.SCHED_BATCH
    except OSError:
        return False


def standing_back_beside_python() -> list[int]:
    """The threads of this process that stand back and that Python did not start, by the system's numbers: gRPC's."""
    try:
        threads = [int(entry.name) for entry in Path("/proc/self/task").iterdir()]
    except OSError:
        return []
    pythons = {thread.native_id for thread in threading.enumerate()}
    return [thread for thread in threads if thread not in pythons and stands_back(thread)]


def _stand_back(thread: int) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.sched_setscheduler(thread, os.SCHED_BATCH, os.sched_param(0))


def _step_forward(thread: int) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))
