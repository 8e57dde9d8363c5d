"""Worker threads, and their way back to the loop."""

from __future__ import annotations

import asyncio
import threading
import weakref
from typing import Any

from cvserve.serving.core.mailbox import Mailbox
from cvserve.serving.core.worker import Worker


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


async def test_a_worker_lets_go_of_a_batch_when_the_next_begins() -> None:
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


async def test_messages_of_many_threads_arrive_each_once_and_in_their_threads_order() -> None:
    mailbox = Mailbox(asyncio.get_running_loop())
    seen: list[tuple[int, int]] = []
    done = asyncio.Event()

    def receive(thread: int, number: int) -> None:
        seen.append((thread, number))
        if len(seen) == 4 * 500:
            done.set()

    def send(thread: int) -> None:
        for number in range(500):
            mailbox.post(receive, thread, number)

    threads = [threading.Thread(target=send, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    await asyncio.wait_for(done.wait(), 5)
    for index in range(4):
        assert [number for thread, number in seen if thread == index] == list(range(500))


async def test_a_message_that_raises_does_not_hold_back_the_next() -> None:
    loop = asyncio.get_running_loop()
    mailbox = Mailbox(loop)
    reported: list[Any] = []
    loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
    arrived = asyncio.Event()

    def fail() -> None:
        raise ValueError("a bug")

    mailbox.post(fail)
    mailbox.post(arrived.set)
    await asyncio.wait_for(arrived.wait(), 5)
    assert [str(error) for error in reported] == ["a bug"]


def test_a_closed_loop_drops_what_threads_still_send() -> None:
    loop = asyncio.new_event_loop()
    mailbox = Mailbox(loop)
    loop.close()
    mailbox.post(print, "never")
