"""Background work: changes that go on when their caller gives up, and a function that is called at intervals."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

_LOG = logging.getLogger(__name__)

T = TypeVar("T")


async def in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Calls `function(*arguments)` on another thread, since it may wait for the disk, and returns the result."""
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


async def wait_for_all(changes: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Waits for all changes, even when one fails; then raises the first failure and logs the others."""
    failures = [result for result in await asyncio.gather(*changes, return_exceptions=True) if result is not None]
    for other in failures[1:]:
        _LOG.error("a model could not be changed", exc_info=other)
    if failures:
        raise failures[0]


class BackgroundTasks:
    """Holds tasks until they are done, since the loop itself keeps only weak references. Used on the loop's thread."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Future[Any]] = set()

    def start(self, change: Coroutine[Any, Any, None]) -> None:
        """Starts a change that no caller waits for; a failure is logged."""
        self.keep(asyncio.ensure_future(_logged(change)))

    async def finish(self, change: Coroutine[Any, Any, None]) -> None:
        """Waits for a change, which goes on if the caller gives up."""
        await asyncio.shield(self.keep(asyncio.ensure_future(change)))

    def keep(self, task: asyncio.Future[T]) -> asyncio.Future[T]:
        """Holds a task until it is done, and returns it."""
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def wait(self) -> None:
        """Waits for all tasks that are running now."""
        if self._tasks:
            await asyncio.wait(set(self._tasks))

    def _done(self, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as seen: it belongs to the caller, which may have given up


async def _logged(change: Coroutine[Any, Any, None]) -> None:
    try:
        await change
    except Exception:  # noqa: BLE001 - logged, since no caller waits for it
        _LOG.exception("a model could not be changed")


class Watcher:
    """Calls `check` every `seconds`, from `start` to `stop`. Used on the loop's thread."""

    def __init__(self, check: Callable[[], Awaitable[None]], seconds: float) -> None:
        """
        Args:
            check: checks the disk once.
            seconds: from the end of one call to the next; 0: never.
        """
        self._check = check
        self._seconds = seconds
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts calling."""
        if self._seconds and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._watch())

    async def stop(self) -> None:
        """Stops calling. What the last call started goes on."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            try:
                await self._check()
            except Exception:  # noqa: BLE001 - logged, since no caller waits for it
                # An unexpected failure of one call must not stop the later calls.
                _LOG.exception("checking the disk for models failed")
