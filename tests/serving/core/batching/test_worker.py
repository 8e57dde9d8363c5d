"""Threads that run one job after another on one resource."""

from __future__ import annotations

import asyncio
import threading
import weakref
from typing import Any

from cvserve.serving.core.batching.worker import Worker


async def test_a_worker_goes_from_job_to_job_on_its_own_resource() -> None:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[list[Any]] = loop.create_future()
    seen: list[Any] = []

    def second(resource: str) -> None:
        seen.append((resource, threading.current_thread().name))
        loop.call_soon_threadsafe(done.set_result, seen)

    def first(resource: str) -> Any:
        seen.append((resource, threading.current_thread().name))
        return second

    worker = Worker("graph", "m-1-0")
    worker.begin(first)
    assert await asyncio.wait_for(done, 5) == [("graph", "m-1-0")] * 2
    # Without a successor it waits for the next one to be handed over.
    again: asyncio.Future[str] = loop.create_future()
    worker.begin(lambda resource: loop.call_soon_threadsafe(again.set_result, resource) and None)
    assert await asyncio.wait_for(again, 5) == "graph"
    worker.end()
    worker.join(5)
    assert not worker.is_alive()


async def test_a_worker_frees_a_batch_when_the_next_begins() -> None:
    class Batch:
        pass

    worker: Worker[None] = Worker(None, "test")
    freed = threading.Event()
    ready = threading.Event()

    def make() -> Any:
        batch = Batch()
        weakref.finalize(batch, freed.set)

        def job(_: None) -> None:
            assert batch is not None

        return job

    worker.begin(make())
    worker.begin(lambda _: ready.set())
    assert await asyncio.to_thread(ready.wait, 5)
    assert await asyncio.to_thread(freed.wait, 5)
    worker.end()
