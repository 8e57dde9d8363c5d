"""From worker threads to the event loop, with one wake-up for many messages."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any


class Mailbox:
    """Calls handed over by threads, run on the loop in order. Thread-safe.

    `loop.call_soon_threadsafe` writes a byte to a pipe each time, and every wake-up of the loop takes the
    interpreter's lock from the threads that work; here only the first message of a burst does.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._messages: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._awake = False

    def post(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Has `callback(*arguments)` run on the loop soon. After the loop's end, messages are dropped."""
        self._messages.append((callback, arguments))
        # Two threads may both wake the loop, which costs a wake-up; none can be lost, since the flag falls before
        # the messages are read.
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
            # Only as many as are there now: a flood must not keep the loop from its sockets.
            for _ in range(len(self._messages)):
                callback, arguments = self._messages.popleft()
                callback(*arguments)
        finally:
            if self._messages and not self._awake:
                self._awake = True
                self._loop.call_soon(self._deliver)
