"""Threads with something to work on: one thread an instance of a model."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from cvserve.serving.core.mailbox import Mailbox

Resource = TypeVar("Resource")
Job = Callable[[Resource], Any]
Done = Callable[[Any, BaseException | None], None]


class Workers(Generic[Resource]):
    """A thread for each resource, and the count of those that are idle.

    The batcher asks for `free` before it forms a batch, so a job never waits here: it starts at once. Used from the
    loop's thread only; the jobs run on the threads, `done` is called on the loop again. Round robin over the idle
    ones, so that all instances of a model stay warm.
    """

    def __init__(self, resources: Sequence[Resource], mailbox: Mailbox, name: str) -> None:
        self._mailbox = mailbox
        self._threads = [_Worker(resource, mailbox, f"{name}-{index}") for index, resource in enumerate(resources)]
        self._idle = list(self._threads)

    @property
    def free(self) -> int:
        """How many jobs could start now."""
        return len(self._idle)

    def submit(self, job: Job[Resource], done: Done) -> None:
        """Runs `job(resource)` on an idle worker, then `done(result, None)` or `done(None, error)` on the loop.

        The worker counts as idle again when `done` is called. Only with `free` above 0.
        """
        worker = self._idle.pop(0)

        def finished(result: Any, error: BaseException | None) -> None:
            self._idle.append(worker)
            done(result, error)

        worker.jobs.put((job, finished))

    def close(self, timeout: float | None = None) -> None:
        """Ends the threads after the jobs they have; waits for them at most `timeout` seconds."""
        for worker in self._threads:
            worker.jobs.put(None)
        for worker in self._threads:
            worker.join(timeout)


class _Worker(threading.Thread, Generic[Resource]):
    def __init__(self, resource: Resource, mailbox: Mailbox, name: str) -> None:
        # A daemon, so that a graph that never returns cannot keep the process from ending.
        super().__init__(name=name, daemon=True)
        self.jobs: queue.SimpleQueue[tuple[Job[Resource], Done] | None] = queue.SimpleQueue()
        self._resource = resource
        self._mailbox = mailbox
        self.start()

    def run(self) -> None:
        while (item := self.jobs.get()) is not None:
            job, done = item
            try:
                result = job(self._resource)
            except BaseException as error:  # noqa: BLE001 - handed to the caller, which waits on the loop
                self._mailbox.post(done, None, error)
            else:
                self._mailbox.post(done, result, None)
            # Neither the pictures of this batch nor its answers are kept until the next one comes.
            item = job = done = result = None  # type: ignore[assignment]
