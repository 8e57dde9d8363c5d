"""Which threads may take a core from which (Linux; nothing elsewhere)."""

from __future__ import annotations

import contextlib
import os
import sys


def stand_back() -> None:
    """This thread, and those that it starts, wait for the end of a slice rather than take a core at once.

    For the threads that move messages. Otherwise every message that comes takes a core from a graph, and with it what
    the graph has in the cache: on 2 cores that cost 6 % of all answers. Where a core is idle nothing waits.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def step_forward() -> None:
    """This thread, and those that it starts, take cores as usual.

    For the threads of graphs: an operation that is shared out among several waits for the last of them.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
