"""Worker threads, and their way back to the loop."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from cvserve.serving.core.mailbox import Mailbox
from cvserve.serving.core.workers import Workers


async def test_each_worker_has_its_own_resource_and_they_take_turns() -> None:
    loop = asyncio.get_running_loop()
    workers = Workers(["a", "b"], Mailbox(loop), "test")
    used: list[str] = []
    for _ in range(4):
        answer: asyncio.Future[str] = loop.create_future()
        workers.submit(lambda resource: resource, lambda result, error, answer=answer: answer.set_result(result))
        used.append(await answer)
    assert used == ["a", "b", "a", "b"]
    workers.close(5)


async def test_free_counts_what_is_idle_and_errors_are_handed_over() -> None:
    loop = asyncio.get_running_loop()
    workers = Workers([0], Mailbox(loop), "test")
    gate = threading.Event()
    found: asyncio.Future[Any] = loop.create_future()

    def job(resource: int) -> float:
        gate.wait(5)
        return 1 / resource

    workers.submit(job, lambda result, error: found.set_result((result, error, workers.free)))
    assert workers.free == 0
    gate.set()
    result, error, free = await found
    assert result is None
    assert isinstance(error, ZeroDivisionError)
    assert free == 1
    workers.close(5)


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
