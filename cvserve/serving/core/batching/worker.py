"""The thread of one instance: it runs one batch after another."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from cvserve.serving.core.thread_names import GRAPHS, name_thread

Resource = TypeVar("Resource")

Job = Callable[[Resource], Any]
"""Uses the resource and returns the next job, or None when there is nothing to do now. It raises nothing."""


class Worker(threading.Thread, Generic[Resource]):
    """Runs jobs on one resource. A job returns the next one, so that the thread goes from one batch to the next without
    waiting for the event loop."""

    def __init__(self, resource: Resource, name: str) -> None:
        # A daemon, so that a graph that never returns cannot keep the process from ending.
        super().__init__(name=name, daemon=True)
        self._jobs: queue.SimpleQueue[Job[Resource] | None] = queue.SimpleQueue()
        self._resource = resource
        self.start()

    def begin(self, job: Job[Resource]) -> None:
        """Gives the worker a job, from any thread. Called only while it has none."""
        self._jobs.put(job)

    def end(self) -> None:
        """Ends the thread after its current job."""
        self._jobs.put(None)

    def run(self) -> None:
        """Runs jobs until `end`."""
        name_thread(f"{GRAPHS}{self.name}")
        while (job := self._jobs.get()) is not None:
            while job is not None:
                # Rebinding frees the finished batch, its images and answers.
                job = job(self._resource)
        # A reference to the thread does not keep the resource alive.
        del self._resource
