"""The task that looks at the disk every second."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

_LOG = logging.getLogger(__name__)


class Watcher:
    """Calls `look` every `seconds`, from `start` to `stop`. On the loop's thread."""

    def __init__(self, look: Callable[[], Awaitable[None]], seconds: float) -> None:
        """
        Args:
            seconds: from the end of one look to the next; 0: never.
        """
        self._look = look
        self._seconds = seconds
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._seconds and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._watch())

    async def stop(self) -> None:
        """Returns when it has stopped; what the last look began goes on."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            try:
                await self._look()
            except Exception:  # noqa: BLE001 - logged, and there is nobody to tell
                # A look that fails in a way nobody has foreseen must not be the last one.
                _LOG.exception("looking for models failed")
