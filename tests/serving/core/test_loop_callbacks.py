"""Callbacks that threads have run on the event loop, one by one and several answers together."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from queue_kit import ask, queue_of, values
from serving_kit import PuppetSlots, on_jumping_clock, turns

from cvserve.serving.core.batching.policy import BatchLimits
from cvserve.serving.core.coalescing import DELAY_SECONDS, MAX_ANSWERS, MIN_REMAINING_SECONDS, CoalescingCallbacks
from cvserve.serving.core.loop_callbacks import LoopCallbacks


@pytest.mark.parametrize("delayed", [False, True])
async def test_callbacks_of_many_threads_run_each_once_and_in_their_threads_order(delayed: bool) -> None:
    callbacks = CoalescingCallbacks(asyncio.get_running_loop())
    seen: list[tuple[int, int]] = []
    done = asyncio.Event()

    def receive(*pairs: tuple[int, int]) -> None:
        seen.extend(pairs)
        if len(seen) == 4 * 500:
            done.set()

    def send(thread: int) -> None:
        for number in range(500):
            if not delayed:
                callbacks.post(receive, (thread, number))
                continue
            waiting = 2 * (1 + number % 9)
            answers = [(thread, number)]
            callbacks.post_answers(
                lambda pairs: receive(*pairs), answers, deadline=math.inf, waiting=waiting, capacity=0
            )
            if not number % 50:
                time.sleep(0.001)  # the loop has its turns in between

    threads = [threading.Thread(target=send, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    await asyncio.wait_for(done.wait(), 10)
    for index in range(4):
        assert [number for thread, number in seen if thread == index] == list(range(500))


async def test_a_callback_that_raises_does_not_hold_back_the_next() -> None:
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


def coalescing(seen: list[int]) -> tuple[CoalescingCallbacks, Callable[..., None]]:
    """Returns callbacks, and a function that posts one answer, of which half of `waiting` may go together."""
    loop = asyncio.get_running_loop()
    callbacks = CoalescingCallbacks(loop, loop.time)

    def post(number: int, waiting: int = 2 * MAX_ANSWERS) -> None:
        callbacks.post_answers(seen.extend, [number], deadline=math.inf, waiting=waiting, capacity=0)

    return callbacks, post


def test_delayed_answers_go_with_the_next_callback_that_cannot_wait() -> None:
    async def main() -> None:
        seen: list[int] = []
        callbacks, post = coalescing(seen)
        post(0)
        await turns()
        assert seen == [0], "nothing was delivered lately, so that it had nothing to wait for"
        post(1)
        post(2)
        await turns()
        assert seen == [0]
        callbacks.post(seen.append, 3)
        await turns()
        assert seen == [0, 1, 2, 3]

    on_jumping_clock(main())


def test_delayed_answers_wait_for_others_and_not_for_ever() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[int] = []
        _, post = coalescing(seen)
        post(0)
        await turns()
        for number in range(1, MAX_ANSWERS):
            post(number)
        await turns()
        assert seen == [0]
        post(MAX_ANSWERS)
        await turns()
        assert seen == list(range(MAX_ANSWERS + 1))
        began = loop.time()
        post(100)
        await asyncio.sleep(DELAY_SECONDS / 2)
        assert seen[-1] == MAX_ANSWERS
        await asyncio.sleep(DELAY_SECONDS)
        assert seen[-1] == 100
        assert loop.time() - began < 2 * DELAY_SECONDS
        post(101)
        post(102, waiting=4)
        await turns()
        assert seen[-2:] == [101, 102]
        # After a quiet time there is nothing to wait for.
        await asyncio.sleep(3 * DELAY_SECONDS)
        post(103)
        await turns()
        assert seen[-1] == 103

    on_jumping_clock(main())


def test_a_closed_loop_drops_what_threads_still_send() -> None:
    loop = asyncio.new_event_loop()
    callbacks = CoalescingCallbacks(loop)
    loop.close()
    callbacks.post(print, "never")
    callbacks.post_answers(print, ["never"], deadline=math.inf, waiting=2, capacity=0)


def test_answers_go_together_while_the_queue_is_deep() -> None:
    async def main() -> None:
        slots = PuppetSlots()
        loop = asyncio.get_running_loop()
        callbacks = CoalescingCallbacks(loop, loop.time)
        queue = queue_of(slots, BatchLimits(1), callbacks=callbacks)
        tasks = [ask(queue, value) for value in range(10)]
        await turns()

        async def finish_one() -> int:
            slots.finish()
            await turns()
            return sum(task.done() for task in tasks)

        assert await finish_one() == 1
        # Seven wait, then six, five, four: half as many go together.
        assert [await finish_one() for _ in range(4)] == [1, 1, 4, 4]
        # Three: the graph will want new requests soon.
        assert [await finish_one() for _ in range(2)] == [6, 7]
        await slots.finish_all()
        assert [values(await task) for task in tasks] == [[2 * value] for value in range(10)]

    on_jumping_clock(main())


def test_an_answer_that_is_wanted_soon_waits_for_no_other() -> None:
    async def main() -> None:
        slots = PuppetSlots()
        loop = asyncio.get_running_loop()
        callbacks = CoalescingCallbacks(loop, loop.time)
        queue = queue_of(slots, BatchLimits(1), callbacks=callbacks)
        soon = loop.time() + MIN_REMAINING_SECONDS
        tasks = [ask(queue, 0), ask(queue, 1, deadline=soon), *(ask(queue, value) for value in range(2, 12))]
        await turns()
        for done in (1, 2, 2):
            slots.finish()
            await turns()
            assert sum(task.done() for task in tasks) == done
        await slots.finish_all()
        await asyncio.gather(*tasks)

    on_jumping_clock(main())
