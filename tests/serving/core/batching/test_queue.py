"""The queue with a fake clock and slots that the test controls: which requests run together, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from queue_kit import ask, queue_of, values, x
from serving_kit import PuppetSlots, on_jumping_clock, turns

from cvserve.errors import InvalidInput
from cvserve.serving.core.batching.execution import WithLone
from cvserve.serving.core.batching.policy import BatchLimits, QueueBounds
from cvserve.serving.core.batching.requests import PRIORITY


def test_batches_grow_while_the_slot_is_busy() -> None:
    async def main() -> None:
        slots = PuppetSlots()
        queue = queue_of(slots)
        first = ask(queue, 1)
        await turns()
        others = [ask(queue, value) for value in (2, 3, 4, 5, 6)]
        await slots.finish_all()
        assert slots.batches == [[1], [2, 3, 4, 5], [6]]
        assert [values(await task) for task in (first, *others)] == [[2], [4], [6], [8], [10], [12]]
        assert (queue.counts.requests, queue.counts.batches, queue.counts.rows) == (6, 3, 6)

    on_jumping_clock(main())


def test_a_lone_request_runs_on_the_replica_for_lone_requests() -> None:
    async def main() -> None:
        slots = PuppetSlots(2)
        queue = queue_of(slots, BatchLimits(2))
        alone: list[list[float]] = []

        def lone(inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None) -> dict[str, np.ndarray]:
            alone.append(inputs["x"].reshape(-1).tolist())
            return {"y": inputs["x"] * 2}

        slots.graph_of = WithLone(slots.graph_of, lone)
        first = ask(queue, 1)
        await turns()
        # The other slot is free, but this request is not alone; neither are requests that share a batch or while others
        # wait.
        second = ask(queue, 2)
        await turns()
        third = [ask(queue, value) for value in (3, 4, 5)]
        await turns()
        await slots.finish_all()
        assert [values(await task) for task in (first, second, *third)] == [[2], [4], [6], [8], [10]]
        assert (alone, slots.batches) == ([[1]], [[2], [3, 4], [5]])
        last = ask(queue, 6)
        await turns()
        await slots.finish_all()
        assert values(await last) == [12]
        assert alone == [[1], [6]]

    on_jumping_clock(main())


def test_requests_of_one_turn_share_a_batch_without_any_delay() -> None:
    async def main() -> None:
        slots = PuppetSlots()
        queue = queue_of(slots)
        tasks = [ask(queue, value) for value in (1, 2, 3)]
        await slots.finish_all()
        assert slots.batches == [[1, 2, 3]]
        await asyncio.gather(*tasks)

    on_jumping_clock(main())


def test_a_delay_ends_when_the_batch_is_full() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        slots = PuppetSlots()
        queue = queue_of(slots, BatchLimits(4, delay=0.010))
        first = ask(queue, 1)
        await asyncio.sleep(0.006)
        assert not slots.running
        second = ask(queue, 2)
        await asyncio.sleep(0.003)
        assert not slots.running
        await asyncio.sleep(0.002)
        assert len(slots.running) == 1
        assert loop.time() == pytest.approx(0.011)
        await slots.finish_all()
        assert slots.batches == [[1, 2]]
        await asyncio.gather(first, second)

    on_jumping_clock(main())


def test_other_shapes_and_dtypes_never_share_a_batch() -> None:
    async def main() -> None:
        slots = PuppetSlots()
        queue = queue_of(slots, BatchLimits(8))
        blocker = ask(queue, 0)
        await turns()
        tasks = [
            ask(queue, 1),
            asyncio.ensure_future(queue.run(x(2, width=3))),
            asyncio.ensure_future(queue.run(x(3, dtype="float64"))),
            ask(queue, 4),
            ask(queue, 5, outputs=["y"]),
            ask(queue, 6, signature="other"),
        ]
        await slots.finish_all()
        assert slots.batches == [[0], [1, 4], [2, 2, 2], [3], [5], [6]]
        assert (await tasks[1])["y"].shape == (1, 3)
        await asyncio.gather(blocker, *tasks)

    on_jumping_clock(main())


def test_several_rows_are_batched_with_others_and_return_to_their_own_request() -> None:
    async def main() -> None:
        slots = PuppetSlots()
        queue = queue_of(slots)
        tasks = [ask(queue, 1, 2), ask(queue, 3), ask(queue, 4)]
        await slots.finish_all()
        assert slots.batches == [[1, 2, 3, 4]]
        assert [values(await task) for task in tasks] == [[2, 4], [6], [8]]

    on_jumping_clock(main())


def test_a_request_larger_than_the_maximum_is_split_over_the_slots() -> None:
    async def main() -> None:
        slots = PuppetSlots(slots=2)
        queue = queue_of(slots)
        task = ask(queue, *range(10))
        await turns()
        assert len(slots.running) == 2
        await slots.finish_all()
        assert sorted(slots.batches) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
        assert values(await task) == [2.0 * value for value in range(10)]

    on_jumping_clock(main())


def test_a_large_request_lets_others_have_their_turn() -> None:
    async def main() -> None:
        slots = PuppetSlots()
        queue = queue_of(slots, bounds=QueueBounds(requests=3))
        large = ask(queue, *range(20))
        await turns()
        assert queue.waiting == 1
        small = [ask(queue, value, 90) for value in (50, 60)]
        await slots.finish_all()
        assert slots.batches[:3] == [[0, 1, 2, 3], [4, 5, 6, 7], [50, 90, 60, 90]]
        assert values(await large) == [2.0 * value for value in range(20)]
        await asyncio.gather(*small)
        # The bytes of the rest of the large request are subtracted; otherwise they would fill the queue.
        assert queue.queued_bytes == 0

    on_jumping_clock(main())


def test_requests_of_a_higher_priority_go_first_and_equals_keep_their_order() -> None:
    async def main() -> None:
        slots = PuppetSlots()
        queue = queue_of(slots, BatchLimits(2), QueueBounds(priority_levels=3, default_priority=2))

        def ask_at(priority: str | None, value: float) -> asyncio.Task[Any]:
            PRIORITY.set(priority)
            return ask(queue, value)

        blocker = ask_at(None, 0)
        await turns()
        tasks = [ask_at(*pair) for pair in (("3", 1), (None, 2), ("1", 3), ("2", 4), ("1", 5), ("3", 6))]
        await slots.finish_all()
        assert slots.batches == [[0], [3, 5], [2, 4], [1, 6]]
        await asyncio.gather(blocker, *tasks)
        for wrong in ("0", "4", "first", "-1", "1" * 50):
            with pytest.raises(InvalidInput, match=r"is not a priority; this model has 1 \(first\) to 3"):
                await ask_at(wrong, 1)

    on_jumping_clock(main())


def test_batches_are_padded_to_the_allowed_sizes_and_answers_have_no_padding() -> None:
    async def main() -> None:
        slots = PuppetSlots()
        queue = queue_of(slots, BatchLimits(4, allowed_rows=(1, 4)))
        tasks = [ask(queue, 1, 2), ask(queue, 3)]
        await slots.finish_all()
        assert slots.batches == [[1, 2, 3, 3]]
        assert [values(await task) for task in tasks] == [[2, 4], [6]]
        assert queue.counts.padded_rows == 1

    on_jumping_clock(main())


def test_batching_off_runs_every_request_alone() -> None:
    async def main() -> None:
        slots = PuppetSlots(slots=2)
        queue = queue_of(slots, BatchLimits(4, batching=False))
        tasks = [ask(queue, value) for value in (1, 2, 3)]
        await slots.finish_all()
        assert slots.batches == [[1], [2], [3]]
        await asyncio.gather(*tasks)

    on_jumping_clock(main())


def test_inputs_without_common_rows_run_alone_and_get_the_outputs_as_they_are() -> None:
    def graph(inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None) -> dict[str, np.ndarray]:
        return {"y": inputs["x"].sum()[np.newaxis][0] * inputs["z"]}

    async def main() -> None:
        slots = PuppetSlots(graph=graph)
        queue = queue_of(slots, BatchLimits(4, allowed_rows=(2, 4)))
        inputs = {"x": np.ones((6, 1)), "z": np.array(3.0)}
        task = asyncio.ensure_future(queue.run(inputs))
        await slots.finish_all()
        assert (await task)["y"] == 18.0

    on_jumping_clock(main())
