"""Worker threads, and their way back to the loop."""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from serving_kit import on_jumping_clock, turns

from cvserve.serving.core.batching.worker import Worker
from cvserve.serving.core.mailbox import COMPANY, PATIENCE_SECONDS, Mailbox


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


@pytest.mark.parametrize("patient", [False, True])
async def test_messages_of_many_threads_arrive_each_once_and_in_their_threads_order(patient: bool) -> None:
    mailbox = Mailbox(asyncio.get_running_loop())
    seen: list[tuple[int, int]] = []
    done = asyncio.Event()

    def receive(thread: int, number: int) -> None:
        seen.append((thread, number))
        if len(seen) == 4 * 500:
            done.set()

    def send(thread: int) -> None:
        for number in range(500):
            if not patient:
                mailbox.post(receive, thread, number)
                continue
            mailbox.post_patiently(1, 1 + number % 9, receive, thread, number)
            if not number % 50:
                time.sleep(0.001)  # the loop has its turns in between

    threads = [threading.Thread(target=send, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    await asyncio.wait_for(done.wait(), 10)
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


def patient_mailbox(seen: list[int]) -> tuple[Mailbox, Callable[..., None]]:
    """A mailbox, and how to post patient messages to it."""
    mailbox = Mailbox(asyncio.get_running_loop())

    def post(number: int, company: int = COMPANY) -> None:
        mailbox.post_patiently(1, company, seen.append, number)

    return mailbox, post


def test_patient_messages_go_with_the_next_impatient_one() -> None:
    async def main() -> None:
        seen: list[int] = []
        mailbox, post = patient_mailbox(seen)
        post(0)
        await turns()
        assert seen == [0], "nothing was delivered lately, so that it had nothing to wait for"
        post(1)
        post(2)
        await turns()
        assert seen == [0]
        mailbox.post(seen.append, 3)
        await turns()
        assert seen == [0, 1, 2, 3]

    on_jumping_clock(main())


def test_patient_messages_wait_for_company_and_not_for_ever() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[int] = []
        _, post = patient_mailbox(seen)
        post(0)
        await turns()
        for number in range(1, COMPANY):
            post(number)
        await turns()
        assert seen == [0]
        post(COMPANY)
        await turns()
        assert seen == list(range(COMPANY + 1))
        began = loop.time()
        post(100)
        await asyncio.sleep(PATIENCE_SECONDS / 2)
        assert seen[-1] == COMPANY
        await asyncio.sleep(PATIENCE_SECONDS)
        assert seen[-1] == 100
        assert loop.time() - began < 2 * PATIENCE_SECONDS
        post(101)
        post(102, company=2)
        await turns()
        assert seen[-2:] == [101, 102]
        # After a quiet time there is nothing to wait for.
        await asyncio.sleep(3 * PATIENCE_SECONDS)
        post(103)
        await turns()
        assert seen[-1] == 103

    on_jumping_clock(main())


def test_a_closed_loop_drops_what_threads_still_send() -> None:
    loop = asyncio.new_event_loop()
    mailbox = Mailbox(loop)
    loop.close()
    mailbox.post(print, "never")
    mailbox.post_patiently(1, 1, print, "never")
