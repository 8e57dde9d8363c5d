"""Requests whose tensors are made later, by the worker that runs them or on another thread."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from queue_kit import Making, ask, later, made_by_worker, queue_of, values, x
from serving_kit import PuppetSlots, on_jumping_clock, turns

from cvserve.errors import DeadlineExceeded, ImageError, InvalidInput, Overloaded
from cvserve.serving.core.batching.policy import BatchLimits, QueueBounds


def test_requests_made_by_workers_share_batches_and_fail_alone() -> None:
    async def main() -> None:
        slots = PuppetSlots()
        made: list[float] = []
        queue = queue_of(slots)
        tasks = [made_by_worker(queue, 1, made), made_by_worker(queue, -1, made), ask(queue, 3)]
        await slots.finish_all()
        assert slots.batches == [[1, 3]]
        assert values(await tasks[0]) == [2]
        assert values(await tasks[2]) == [6]
        with pytest.raises(InvalidInput, match="not an image"):
            await tasks[1]
        assert queue.counts.retried == 0

    on_jumping_clock(main())


def test_cancelled_requests_are_never_made() -> None:
    async def main() -> None:
        slots = PuppetSlots()
        made: list[float] = []
        queue = queue_of(slots, BatchLimits(1))
        tasks = [made_by_worker(queue, value, made) for value in (1, 2, 3)]
        await turns()
        tasks[1].cancel()
        await slots.finish_all()
        assert made == [1, 3]
        assert values(await tasks[2]) == [6]

    on_jumping_clock(main())


def test_a_failed_batch_is_retried_with_the_tensors_that_were_made() -> None:
    def graph(inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None) -> dict[str, np.ndarray]:
        if (inputs["x"] == 2).any():
            raise RuntimeError("bad row")
        return {"y": inputs["x"]}

    async def main() -> None:
        slots = PuppetSlots(graph=graph)
        made: list[float] = []
        queue = queue_of(slots)
        tasks = [made_by_worker(queue, value, made) for value in (1, 2)]
        await slots.finish_all()
        assert made == [1, 2]
        assert values(await tasks[0]) == [1]
        with pytest.raises(RuntimeError, match="bad row"):
            await tasks[1]

    on_jumping_clock(main())


def test_requests_whose_tensors_are_being_made_count_and_join_a_batch() -> None:
    async def main() -> None:
        slots = PuppetSlots()
        queue = queue_of(slots, bounds=QueueBounds(requests=2))
        first, second = Making(), Making()
        tasks = [later(queue, first), later(queue, second)]
        await turns()
        assert queue.waiting == 2
        with pytest.raises(Overloaded):
            await queue.run(x(1))
        # It needs no turn of the loop: the pixels go from the decoding thread into a batch.
        first.give(x(1))
        assert len(slots.running) == 1
        second.give(x(2))
        assert queue.waiting == 1
        await slots.finish_all()
        assert slots.batches == [[1], [2]]
        assert [values(await task) for task in tasks] == [[2], [4]]
        assert queue.waiting == 0

    on_jumping_clock(main())


def test_a_failure_while_making_is_the_answer() -> None:
    async def main() -> None:
        queue = queue_of(PuppetSlots())
        making = Making()
        task = later(queue, making)
        await turns()
        making.fail(ImageError("image", "it is broken"))
        with pytest.raises(ImageError, match="it is broken"):
            await task
        assert queue.waiting == 0

    on_jumping_clock(main())


def test_a_request_cancelled_while_it_is_made_never_runs() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        slots = PuppetSlots()
        queue = queue_of(slots)
        cancelled, late = Making(), Making()
        first, second = later(queue, cancelled), later(queue, late, deadline=0.3)
        await turns()
        first.cancel()
        with pytest.raises(DeadlineExceeded):
            await second
        assert loop.time() == pytest.approx(0.3)
        assert (cancelled.given_up, late.given_up) == (1, 1)
        assert queue.waiting == 0
        # A thread that was already making it returns its result too late.
        cancelled.give(x(1))
        late.give(x(2))
        await turns()
        assert not slots.running
        assert queue.waiting == 0

    on_jumping_clock(main())


def test_a_make_that_fails_at_once_leaves_no_entry() -> None:
    def full(give: Any, fail: Any) -> Any:
        raise Overloaded("too many images wait to be decoded")

    async def main() -> None:
        queue = queue_of(PuppetSlots())
        with pytest.raises(Overloaded, match="too many images"):
            await queue.run_when_made(full, deadline=100.0)
        assert queue.waiting == 0
        # No timer is left either: the request would count as expired, and an error would be logged.
        timers = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
        assert not [timer for timer in timers if not timer.cancelled()]

    on_jumping_clock(main())
