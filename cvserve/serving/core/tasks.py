"""Tasks that go on when the caller who began them gives up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

_LOG = logging.getLogger(__name__)

T = TypeVar("T")


async def in_thread(work: Callable[[], T]) -> T:
    """Runs what may wait for the disk."""
    return await asyncio.get_running_loop().run_in_executor(None, work)


async def all_of(changes: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Waits for all of them, also when one fails; then raises the first failure, and logs the others."""
    failures = [result for result in await asyncio.gather(*changes, return_exceptions=True) if result is not None]
    for other in failures[1:]:
        _LOG.error("a model could not be changed", exc_info=other)
    if failures:
        raise failures[0]


class Tasks:
    """What is under way. On the loop's thread."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Future[Any]] = set()

    def begin(self, change: Coroutine[Any, Any, None]) -> None:
        """Begins a change for which nobody waits: a failure is logged."""
        self.keep(asyncio.ensure_future(_logged(change)))

    async def finish(self, change: Coroutine[Any, Any, None]) -> None:
        """Waits for a change, which goes on if the caller gives up."""
        await asyncio.shield(self.keep(asyncio.ensure_future(change)))

    def keep(self, task: asyncio.Future[T]) -> asyncio.Future[T]:
        """Holds a task until it is done: the loop itself keeps only weak references."""
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def wait(self) -> None:
        """Until all that is under way now is done."""
        if self._tasks:
            await asyncio.wait(set(self._tasks))

    def _done(self, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # is the caller's, who may have gone


async def _logged(change: Coroutine[Any, Any, None]) -> None:
    try:
        await change
    except Exception:  # noqa: BLE001 - logged, and there is nobody to tell
        _LOG.exception("a model could not be changed")
