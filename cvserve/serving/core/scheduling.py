"""Sets how Linux schedules the threads that handle messages and those that run graphs. Does nothing elsewhere.

Two parts can be removed separately. SCHED_BATCH for the threads that handle messages: `use_batch_policy`, called in
`serving/process.py`. Lower priority for the threads of graphs and short slices while requests are refused:
`lower_priority`, called in `worker.py` and `loading.py`, and `ShortSlices`, called in `batching/admission.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import platform
import struct
import sys
from pathlib import Path

AFTER_REFUSAL_SECONDS = 0.2
"""Seconds for which short slices stay in use after the last refusal."""

SLICE_SECONDS = 0.0001
"""Seconds of the requested slice. The shorter it is, the sooner Linux (from 6.12 on) runs the thread. This is the
shortest that Linux grants."""

GRAPH_NICE = 10
"""The nice value of the threads that run graphs, above that of the process."""

GRPC_THREADS = ("event_engine", "lifeguard")
"""Names of gRPC's own threads, which read and write for the loop, and of the thread that starts more of them."""


_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}.get(platform.machine())
_SCHED_ATTR = struct.Struct("=IIQiIQQQ")
"""size, policy, flags, nice, priority, runtime, deadline and period of struct sched_attr, version 0."""


def use_batch_policy(thread: int = 0) -> None:
    """Gives a thread of this process, and those that it starts, the policy SCHED_BATCH: it waits for the end of another
    thread's slice rather than take a core at once.

    Used for the threads that handle messages. Otherwise every message takes a core from a graph, and pushes the
    graph's data out of the cache: on 2 cores that cost 6 % of all answers. Where a core is idle nothing waits.

    Args:
        thread: the system's number of the thread; 0: this one.
    """
    if sys.platform == "linux":
        _set_policy(thread, os.SCHED_BATCH)


def use_short_slices(thread: int = 0) -> None:
    """Gives a thread of this process the usual policy with short slices: it takes cores at once, for a moment at a
    time.

    Args:
        thread: as of `use_batch_policy`.
    """
    if sys.platform == "linux":
        _set_policy(thread, os.SCHED_OTHER, SLICE_SECONDS)


def lower_priority(nice: int = GRAPH_NICE) -> None:
    """Raises the nice value of this thread and of those that it will start: they get a small share of the cores where
    other threads of the process want one.

    Used for the threads of graphs. They have the usual policy, since an operation that is divided among several threads
    waits for the last of them; the share matters under overload, when the threads that handle messages would otherwise
    have to wait for their turn (see `ShortSlices`). It cannot be undone without a privilege.

    Args:
        nice: more than the process's main thread, 0 to 19.
    """
    if sys.platform == "linux":
        _set_policy(0, os.SCHED_OTHER)
        with contextlib.suppress(OSError):
            own = os.getpriority(os.PRIO_PROCESS, 0)
            os.setpriority(os.PRIO_PROCESS, 0, max(own, min(os.getpriority(os.PRIO_PROCESS, os.getpid()) + nice, 19)))


def has_batch_policy(thread: int = 0) -> bool:
    """Returns whether a thread has the policy SCHED_BATCH; false for a thread that has ended.

    Args:
        thread: as of `use_batch_policy`.
    """
    if sys.platform != "linux":
        return False
    try:
        return os.sched_getscheduler(thread) == os.SCHED_BATCH
    except OSError:
        return False


def grpc_threads() -> list[int]:
    """Returns the system's numbers of `GRPC_THREADS` in this process."""
    found = []
    with contextlib.suppress(OSError):
        for entry in Path("/proc/self/task").iterdir():
            with contextlib.suppress(OSError):  # it has ended
                if (entry / "comm").read_text(errors="replace").strip() in GRPC_THREADS:
                    found.append(int(entry.name))
    return found


class ShortSlices:
    """Lets an event loop's thread with SCHED_BATCH, and gRPC's own threads, run at once while it refuses requests.

    A refusal that waits for the end of a graph's slice comes late, and under overload several requests arrive in each
    slice. On 2 cores, offered three times what it could answer, the server refused within 0.6 to 0.8 ms
    (median; 99 % within 4.7 to 6.1, the middle run 5.2). Slices of 0.2 ms, in turns: 0.7 to 0.8 (5.3 to 11.5); and
    beside graphs that were not nicer, in other runs: 0.8 to 1.0 (8.0 to 9.3).
    """

    def __init__(self) -> None:
        self._until = 0.0
        self._on = False

    def refused(self) -> None:
        """Records a refusal. Does nothing on a thread without an event loop."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._until = loop.time() + AFTER_REFUSAL_SECONDS
        if not self._on and has_batch_policy():
            self._on = True
            for thread in (0, *grpc_threads()):
                use_short_slices(thread)
            loop.call_at(self._until, self._look)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() < self._until:
            loop.call_at(self._until, self._look)
        else:
            self._on = False
            # Includes threads that were started meanwhile.
            for thread in (0, *grpc_threads()):
                use_batch_policy(thread)


def _set_policy(thread: int, policy: int, slice_seconds: float = 0.0) -> None:
    """Sets the policy of a thread. slice_seconds: 0: the system's. A kernel without slices sets the policy only."""
    with contextlib.suppress(OSError):
        if _SCHED_SETATTR is not None:
            nice = os.getpriority(os.PRIO_PROCESS, thread)
            wanted = _SCHED_ATTR.pack(_SCHED_ATTR.size, policy, 0, nice, 0, round(slice_seconds * 1e9), 0, 0)
            if not ctypes.CDLL(None).syscall(_SCHED_SETATTR, thread, ctypes.c_char_p(wanted), 0):
                return
        os.sched_setscheduler(thread, policy, os.sched_param(0))
