"""Which threads may take a core from which (Linux; nothing elsewhere)."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import platform
import struct
import sys
from pathlib import Path

HURRY_SECONDS = 0.2
"""After the last refusal."""

SLICE_SECONDS = 0.0001
"""What a thread in a hurry asks for at a time. The shorter, the sooner Linux (from 6.12 on) lets it in. This is the
least that it grants."""

GRAPH_NICE = 10
"""How much nicer the threads of graphs are than the others of the process."""

GRPC_THREADS = ("event_engine", "lifeguard")
"""What gRPC calls its own threads, which read and write for the loop, and the one that starts more of them."""


_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}.get(platform.machine())
_SCHED_ATTR = struct.Struct("=IIQiIQQQ")
"""size, policy, flags, nice, priority, runtime, deadline and period of struct sched_attr, version 0."""


def stand_back(thread: int = 0) -> None:
    """A thread of this process, and those that it starts, wait for the end of a slice rather than take a core at once.

    For the threads that move messages. Otherwise every message that comes takes a core from a graph, and with it what
    the graph has in the cache: on 2 cores that cost 6 % of all answers. Where a core is idle nothing waits.

    Args:
        thread: the system's number; 0: this one.
    """
    if sys.platform == "linux":
        _set_policy(thread, os.SCHED_BATCH)


def hurry(thread: int = 0) -> None:
    """A thread of this process takes cores at once, for a moment at a time, until it is told to stand back.

    Args:
        thread: as of `stand_back`.
    """
    if sys.platform == "linux":
        _set_policy(thread, os.SCHED_OTHER, SLICE_SECONDS)


def give_way(nice: int = GRAPH_NICE) -> None:
    """This thread, and those that it starts, take cores as usual, but a small share where others of the process want
    one.

    For the threads of graphs. As usual, since an operation that is shared out among several waits for the last of them;
    the share matters under overload, when the threads that move messages would otherwise have to wait for their turn
    (see `Hurry`). There is no way back without a privilege.

    Args:
        nice: more than the process's main thread, 0 to 19.
    """
    if sys.platform == "linux":
        _set_policy(0, os.SCHED_OTHER)
        with contextlib.suppress(OSError):
            own = os.getpriority(os.PRIO_PROCESS, 0)
            os.setpriority(os.PRIO_PROCESS, 0, max(own, min(os.getpriority(os.PRIO_PROCESS, os.getpid()) + nice, 19)))


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
                if (entry / "comm").read_text(errors="replace").strip() in GRPC_THREADS:
                    found.append(int(entry.name))
    return found


class Hurry:
    """Lets an event loop's thread that stands back, and gRPC's own, take cores at once while it refuses requests.

    A refusal that waits for the end of a graph's slice comes late, and under overload the loop has several requests to
    take in a slice. On 2 cores, offered three times what it could answer, the server refused within 0.6 to 0.8 ms
    (median; 99 % within 4.7 to 6.1, the middle run 5.2). Slices of 0.2 ms, in turns: 0.7 to 0.8 (5.3 to 11.5); and
    beside graphs that were not nicer, in other runs: 0.8 to 1.0 (8.0 to 9.3).
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
                hurry(thread)
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


def _set_policy(thread: int, policy: int, slice_seconds: float = 0.0) -> None:
    """slice_seconds: 0: the system's. A kernel that knows no such thing does without."""
    with contextlib.suppress(OSError):
        if _SCHED_SETATTR is not None:
            nice = os.getpriority(os.PRIO_PROCESS, thread)
            wanted = _SCHED_ATTR.pack(_SCHED_ATTR.size, policy, 0, nice, 0, round(slice_seconds * 1e9), 0, 0)
            if not ctypes.CDLL(None).syscall(_SCHED_SETATTR, thread, ctypes.c_char_p(wanted), 0):
                return
        os.sched_setscheduler(thread, policy, os.sched_param(0))
