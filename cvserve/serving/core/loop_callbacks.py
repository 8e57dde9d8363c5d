"""Calls from worker threads to the event loop, with one wake-up for many of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any


class LoopCallbacks:
    """Runs callbacks that threads post on the loop, in their order. Thread-safe.

    `loop.call_soon_threadsafe` writes a byte to a pipe at each call, and every wake-up of the loop takes the
    interpreter's lock from the threads that work. Here only the first callback of a burst does both.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pending: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._awake = False

    def post(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Schedules `callback(*arguments)` to run on the loop soon. After the end of the loop, callbacks are
        dropped."""
        self._pending.append((callback, arguments))
        self._wake()

    def _wake(self) -> None:
        # Two threads may both wake the loop, which costs one needless wake-up. No callback can be missed, since the
        # flag is cleared before the callbacks are read.
        if not self._awake:
            self._awake = True
            try:
                self._loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:
                if not self._loop.is_closed():
                    raise

    def _deliver(self) -> None:
        self._awake = False
        try:
            # Only as many as there are now: a flood of callbacks must not keep the loop from its sockets.
            for _ in range(len(self._pending)):
                callback, arguments = self._pending.popleft()
                callback(*arguments)
        finally:
            if self._pending and not self._awake:
                self._awake = True
                self._loop.call_soon(self._deliver)
