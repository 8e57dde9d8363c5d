"""Callbacks that threads post to the event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

from cvserve.serving.core.loop_callbacks import LoopCallbacks


async def test_callbacks_of_many_threads_run_each_once_and_in_their_threads_order() -> None:
    callbacks = LoopCallbacks(asyncio.get_running_loop())
    seen: list[tuple[int, int]] = []
    done = asyncio.Event()

    def receive(pair: tuple[int, int]) -> None:
        seen.append(pair)
        if len(seen) == 4 * 500:
            done.set()

    def send(thread: int) -> None:
        for number in range(500):
            callbacks.post(receive, (thread, number))
            if not number % 50:
                time.sleep(0.001)  # the loop runs in between

    threads = [threading.Thread(target=send, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    await asyncio.wait_for(done.wait(), 10)
    for index in range(4):
        assert [number for thread, number in seen if thread == index] == list(range(500))


async def test_a_callback_that_raises_does_not_stop_the_next() -> None:
    loop = asyncio.get_running_loop()
    callbacks = LoopCallbacks(loop)
    reported: list[Any] = []
    loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
    arrived = asyncio.Event()

    def fail() -> None:
        raise ValueError("a bug")

    callbacks.post(fail)
    callbacks.post(arrived.set)
    await asyncio.wait_for(arrived.wait(), 5)
    assert [str(error) for error in reported] == ["a bug"]


def test_a_closed_loop_drops_what_threads_still_send() -> None:
    loop = asyncio.new_event_loop()
    callbacks = LoopCallbacks(loop)
    loop.close()
    callbacks.post(print, "never")
