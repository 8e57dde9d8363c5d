"""The times after which refused requests should be tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import numpy as np
import pytest
from serving_kit import JumpingLoop, PuppetSlots, on_jumping_clock, turns

from cvserve.errors import Overloaded
from cvserve.serving.core.batching.admission import USABLE_FRACTION
from cvserve.serving.core.batching.policy import BatchLimits, QueueBounds
from cvserve.serving.core.batching.queue import BatchQueue
from cvserve.serving.core.batching.throughput import MAX_SECONDS, MIN_SECONDS, UNKNOWN_SECONDS, ThroughputEstimate
from cvserve.serving.core.loop_callbacks import LoopCallbacks


def test_a_queue_takes_as_long_as_its_requests_do() -> None:
    throughput = ThroughputEstimate(slots=2)
    assert throughput.wait(100) == UNKNOWN_SECONDS
    throughput.took(0.4, requests=4)
    assert throughput.wait(100) == pytest.approx(100 * 0.1 / 2)
    for _ in range(50):
        throughput.took(0.02)
    assert throughput.wait(100) == pytest.approx(100 * 0.02 / 2, rel=0.01), "it follows what is"
    assert throughput.wait(0) == MIN_SECONDS
    assert throughput.wait(10**9) == MAX_SECONDS


def test_a_request_that_would_expire_in_the_queue_is_refused_at_once() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, JumpingLoop)

        def graph(inputs: Mapping[str, np.ndarray], outputs: object) -> dict[str, np.ndarray]:
            loop.now += 0.2  # a batch takes that long
            return {"y": inputs["x"]}

        slots = PuppetSlots(graph=graph)
        queue = BatchQueue(
            slots.slots, BatchLimits(1), QueueBounds(), LoopCallbacks(loop), name="model", clock=loop.time
        )

        def ask(seconds: float) -> asyncio.Task[object]:
            inputs = {"x": np.ones((1, 1), np.float32)}
            return asyncio.ensure_future(queue.run(inputs, deadline=loop.time() + seconds))

        # Before anything was measured no request is refused; nor is a single request, however little time it has.
        first = ask(0.01)
        await turns()
        slots.finish()
        await asyncio.gather(first, return_exceptions=True)
        lone = ask(0.05)
        await turns()
        asked = []
        for _ in range(9):
            asked.append(ask(1.0))
            await turns()
        refused = [task for task in asked if task.done()]
        waiting = int(USABLE_FRACTION * 1.0 / 0.2)
        assert len(asked) - len(refused) == waiting
        with pytest.raises(
            Overloaded, match=rf"{waiting} requests wait for model, which takes .* s: too long for the 1 s"
        ):
            await refused[0]
        long_deadline = ask(60.0)
        await turns()
        assert not long_deadline.done()
        assert queue.counts.rejected == len(refused)
        await slots.finish_all()
        answers = await asyncio.gather(*(task for task in asked if task not in refused), return_exceptions=True)
        assert not [answer for answer in answers if isinstance(answer, Exception)]
        await asyncio.gather(long_deadline, lone, return_exceptions=True)

    on_jumping_clock(main())


def test_one_slow_batch_causes_no_refusals() -> None:
    throughput = ThroughputEstimate(slots=1)
    assert throughput.at_best(1) is None
    throughput.took(10.0)  # the first, cold batch
    throughput.took(0.01)
    assert throughput.at_best(10) == pytest.approx(0.1)
    for _ in range(40):
        throughput.took(0.01)
    throughput.took(10.0)  # the machine was stopped for a moment
    assert throughput.at_best(10) == pytest.approx(0.1)
    for _ in range(3):
        throughput.took(10.0)
    assert (throughput.at_best(1) or 0) > 4, "it follows what stays"


def test_after_lone_requests_a_burst_that_fits_into_batches_is_accepted() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, JumpingLoop)

        def graph(inputs: Mapping[str, np.ndarray], outputs: object) -> dict[str, np.ndarray]:
            loop.now += 0.05  # for any number of rows
            return {"y": inputs["x"]}

        slots = PuppetSlots(graph=graph)
        queue = BatchQueue(
            slots.slots, BatchLimits(32), QueueBounds(), LoopCallbacks(loop), name="model", clock=loop.time
        )

        def ask(seconds: float) -> asyncio.Task[object]:
            inputs = {"x": np.ones((1, 1), np.float32)}
            return asyncio.ensure_future(queue.run(inputs, deadline=loop.time() + seconds))

        for _ in range(20):
            lone = ask(1.0)
            await slots.finish_all()
            await lone
        # Two batches, 0.1 s.
        burst = [ask(1.0) for _ in range(64)]
        await slots.finish_all()
        await asyncio.gather(*burst)
        # The same batches show which requests are too many.
        too_many = [ask(0.3) for _ in range(250)]
        await turns()
        assert queue.counts.rejected == pytest.approx(250 - USABLE_FRACTION * 0.3 / 0.05 * 32, abs=1)
        await slots.finish_all()
        await asyncio.gather(*too_many, return_exceptions=True)

    on_jumping_clock(main())


def test_a_full_queue_returns_the_time_to_wait() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, JumpingLoop)

        def graph(inputs: Mapping[str, np.ndarray], outputs: object) -> dict[str, np.ndarray]:
            loop.now += 2  # a batch takes that long
            return {"y": inputs["x"]}

        slots = PuppetSlots(graph=graph)
        queue = BatchQueue(
            slots.slots, BatchLimits(1), QueueBounds(requests=3), LoopCallbacks(loop), name="model", clock=loop.time
        )

        def ask() -> asyncio.Task[object]:
            return asyncio.ensure_future(queue.run({"x": np.ones((1, 1), np.float32)}))

        first = ask()
        await turns()
        assert slots.running
        slots.finish()
        await first
        tasks = []
        for _ in range(4):
            tasks.append(ask())
            await turns()
        with pytest.raises(Overloaded) as error:
            await queue.run({"x": np.ones((1, 1), np.float32)})
        assert error.value.retry_after == pytest.approx(3 * 2.0)
        await slots.finish_all()
        await asyncio.gather(*tasks)

    on_jumping_clock(main())
