"""The queue's deadlines, cancellations, limits and end, on a fake clock."""

from __future__ import annotations

import asyncio
import math

import pytest
from queue_kit import Making, ask, later, queue_of, values, x
from serving_kit import PuppetSlots, on_jumping_clock, turns

from cvserve.errors import DeadlineExceeded, Overloaded, Unavailable
from cvserve.serving.core.batching.policy import BatchLimits, QueueBounds


def test_a_request_waits_no_longer_than_the_queue_allows_and_runs_as_long_as_it_takes() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        slots = PuppetSlots()
        queue = queue_of(slots, BatchLimits(1), QueueBounds(seconds=0.05))
        running = ask(queue, 1)
        await turns()
        waiting = ask(queue, 2)
        with pytest.raises(DeadlineExceeded, match="waited 50 ms for model 'm'"):
            await waiting
        assert loop.time() == pytest.approx(0.05)
        assert not running.done()
        await slots.finish_all()
        assert values(await running) == [2]
        assert slots.batches == [[1]]

    on_jumping_clock(main())


def test_a_deadline_in_the_queue_is_answered_on_time_while_a_long_batch_runs() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        slots = PuppetSlots()
        queue = queue_of(slots)
        running = ask(queue, 1)
        await turns()
        late = ask(queue, 2, deadline=0.3)
        with pytest.raises(DeadlineExceeded):
            await late
        assert loop.time() == pytest.approx(0.3)
        assert queue.waiting == 0
        await slots.finish_all()
        assert slots.batches == [[1]]
        assert values(await running) == [2]
        assert queue.counts.expired == 1

    on_jumping_clock(main())


def test_a_deadline_inside_a_running_batch_is_answered_on_time_too() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        slots = PuppetSlots()
        queue = queue_of(slots)
        hurried, calm = ask(queue, 1, deadline=0.3), ask(queue, 2)
        await turns()
        with pytest.raises(DeadlineExceeded, match="the deadline passed while model 'm' was busy"):
            await hurried
        assert loop.time() == pytest.approx(0.3)
        await slots.finish_all()
        assert values(await calm) == [4]

    on_jumping_clock(main())


def test_a_deadline_that_has_passed_already_never_queues() -> None:
    async def main() -> None:
        slots = PuppetSlots()
        queue = queue_of(slots)
        with pytest.raises(DeadlineExceeded):
            await ask(queue, 1, deadline=-1.0)
        await turns()
        assert not slots.running

    on_jumping_clock(main())


def test_cancelled_requests_never_run() -> None:
    async def main() -> None:
        slots = PuppetSlots()
        queue = queue_of(slots)
        running = ask(queue, 1)
        await turns()
        waiting, large = ask(queue, 2), ask(queue, *range(10, 20))
        await turns()
        waiting.cancel()
        large.cancel()
        await turns()
        assert queue.waiting == 0
        await slots.finish_all()
        assert slots.batches == [[1]]
        await running

    on_jumping_clock(main())


def test_a_full_queue_refuses_at_once_and_accepts_again_when_there_is_room() -> None:
    async def main() -> None:
        slots = PuppetSlots()
        queue = queue_of(slots, bounds=QueueBounds(requests=2))
        tasks = [ask(queue, 1)]
        await turns()
        tasks += [ask(queue, 2), ask(queue, 3)]
        await turns()
        with pytest.raises(Overloaded, match="the queue of model 'm' is full: 2 requests") as refused:
            await queue.run(x(4))
        assert refused.value.retry_after > 0
        assert queue.counts.rejected == 1
        await slots.finish_all()
        again = ask(queue, 5)
        await slots.finish_all()
        assert values(await again) == [10]
        await asyncio.gather(*tasks)

    on_jumping_clock(main())


def test_the_queue_is_bounded_in_bytes_but_one_request_always_fits() -> None:
    async def main() -> None:
        slots = PuppetSlots()
        queue = queue_of(slots, bounds=QueueBounds(requests=100, bytes=20))
        tasks = [ask(queue, 1)]
        await turns()
        tasks.append(ask(queue, *range(4)))
        tasks.append(ask(queue, 9))
        await turns()
        with pytest.raises(Overloaded):
            await queue.run(x(5))
        await slots.finish_all()
        huge = ask(queue, *range(100))
        await slots.finish_all()
        assert len(values(await huge)) == 100
        await asyncio.gather(*tasks)

    on_jumping_clock(main())


def test_the_rest_of_a_large_request_counts_in_the_bytes_that_wait() -> None:
    async def main() -> None:
        slots = PuppetSlots()
        queue = queue_of(slots, bounds=QueueBounds(bytes=70))
        large = ask(queue, *range(20))
        await turns()
        with pytest.raises(Overloaded):
            await ask(queue, *range(4))
        large.cancel()
        await turns()
        later = ask(queue, 5)
        await slots.finish_all()
        assert values(await later) == [10]

    on_jumping_clock(main())


def test_closing_answers_those_that_wait_and_refuses_the_next() -> None:
    async def main() -> None:
        slots = PuppetSlots()
        queue = queue_of(slots)
        running = ask(queue, 1)
        await turns()
        making = Making()
        waiting, coming = ask(queue, 2), later(queue, making)
        await turns()
        queue.close()
        making.give(x(4))
        for refused in (waiting, coming, ask(queue, 3)):
            with pytest.raises(Unavailable):
                await refused
        await slots.finish_all()
        assert values(await running) == [2]

    on_jumping_clock(main())


def test_no_timers_are_left() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        slots = PuppetSlots()
        queue = queue_of(slots)
        for value in range(50):
            task = ask(queue, value, deadline=loop.time() + 1000)
            await slots.finish_all()
            await task
        pending = [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        assert not pending
        assert loop.time() < math.inf

    on_jumping_clock(main())
