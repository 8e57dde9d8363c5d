"""From worker threads to the event loop, with one wake-up for many messages."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any


class Mailbox:
    """Calls handed over by threads, run on the loop in order. Thread-safe.

    `loop.call_soon_threadsafe` writes a byte to a pipe each time, and every wake-up of the loop takes the
    interpreter's lock from the threads that work. Here only the first message of a burst wakes it, and a message that
    nobody can act on yet wakes it not at all: it is delivered with the next one that does.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._messages: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._awake = False

    def post(self, callback: Callable[..., None], *arguments: Any, needed: Callable[[], bool] = lambda: True) -> None:
        """Has `callback(*arguments)` run on the loop. After the loop's end, messages are dropped.

        Args:
            needed: asked after the message is in the box; False leaves the loop asleep. Whoever answers False must be
                sure of a later message that wakes it. What makes the answer True must happen on the loop, in a
                delivery: what is posted until the end of that delivery belongs to it, and whoever posts later sees
                the True.
        """
        self._messages.append((callback, arguments))
        # Two threads may both wake the loop, which costs a wake-up; none can be lost, since the flag falls before
        # the messages are read.
        if not self._awake and needed():
            self._awake = True
            try:
                self._loop.call_soon_threadsafe(self.deliver)
            except RuntimeError:
                if not self._loop.is_closed():
                    raise

    def deliver(self) -> None:
        """Runs what is in the box. On the loop's thread only."""
        self._awake = False
        try:
            # Only as many as are there now: a flood must not keep the loop from its sockets.
            for _ in range(len(self._messages)):
                callback, arguments = self._messages.popleft()
                callback(*arguments)
        finally:
            if self._messages and not self._awake:
                self._awake = True
                self._loop.call_soon(self.deliver)
