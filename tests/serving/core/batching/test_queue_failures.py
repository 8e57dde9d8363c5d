"""Batches that fail: which requests fail, and which are tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from queue_kit import Making, ask, later, made_by_worker, queue_of, values, x
from serving_kit import PuppetSlots, on_jumping_clock, turns

from cvserve.errors import FailedPrecondition, OutOfMemory
from cvserve.serving.core.batching.policy import BatchLimits


def test_a_failed_piece_fails_the_whole_request_and_ends_its_other_pieces() -> None:
    def graph(inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None) -> dict[str, np.ndarray]:
        if (inputs["x"] == 1).any():
            raise RuntimeError("bad row")
        return {"y": inputs["x"]}

    async def main() -> None:
        slots = PuppetSlots(graph=graph)
        queue = queue_of(slots)
        task = ask(queue, *range(12))
        await slots.finish_all()
        with pytest.raises(RuntimeError, match="bad row"):
            await task
        # The second piece had just taken the slot, but had not begun.
        assert slots.batches == [[0, 1, 2, 3]]
        assert queue.waiting == 0

    on_jumping_clock(main())


def test_when_a_batch_fails_its_members_run_once_more_each_alone() -> None:
    def graph(inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None) -> dict[str, np.ndarray]:
        if (inputs["x"] == 2).any():
            raise RuntimeError("bad row")
        return {"y": inputs["x"] * 2}

    async def main() -> None:
        slots = PuppetSlots(graph=graph)
        queue = queue_of(slots)
        tasks = [ask(queue, value) for value in (1, 2, 3)]
        await turns()
        later = ask(queue, 4)
        await slots.finish_all()
        # The members go before those who came later, and the bad one is not tried a third time.
        assert slots.batches == [[1, 2, 3], [1], [2], [3], [4]]
        assert values(await tasks[0]) == [2]
        assert values(await tasks[2]) == [6]
        assert values(await later) == [8]
        with pytest.raises(RuntimeError, match="bad row"):
            await tasks[1]

    on_jumping_clock(main())


@pytest.mark.parametrize(("sizes", "tried"), [((4,), [[1, 2]]), ((1, 4), [[1, 2], [1], [2]])], ids=["one", "two"])
def test_without_memory_nothing_is_tried_again_at_the_same_size(
    sizes: tuple[int, ...], tried: list[list[float]]
) -> None:
    def graph(inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None) -> dict[str, np.ndarray]:
        raise OutOfMemory("gpu:0 has no memory left")

    async def main() -> None:
        slots = PuppetSlots(graph=graph)
        queue = queue_of(slots, BatchLimits(4, allowed_rows=sizes))
        hold = ask(queue, 0)
        await turns()
        tasks = [ask(queue, value) for value in (1, 2)]
        await slots.finish_all()
        for task in (hold, *tasks):
            with pytest.raises(OutOfMemory):
                await task
        assert [sorted(set(batch)) for batch in slots.batches[1:]] == tried

    on_jumping_clock(main())


def test_a_retried_request_does_not_wait_for_a_batch() -> None:
    def graph(inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None) -> dict[str, np.ndarray]:
        if (inputs["x"] == 2).any():
            raise RuntimeError("bad row")
        return {"y": inputs["x"] * 2}

    async def main() -> None:
        slots = PuppetSlots(graph=graph)
        queue = queue_of(slots, BatchLimits(2, delay=30))
        good, bad = ask(queue, 1), ask(queue, 2)
        await slots.finish_all()
        assert asyncio.get_running_loop().time() == 0
        assert values(await good) == [2]
        with pytest.raises(RuntimeError, match="bad row"):
            await bad

    on_jumping_clock(main())


def test_a_cancelled_member_is_not_retried() -> None:
    def graph(inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None) -> dict[str, np.ndarray]:
        if len(inputs["x"]) > 1:
            raise RuntimeError("only alone")
        return {"y": inputs["x"]}

    async def main() -> None:
        slots = PuppetSlots(graph=graph)
        queue = queue_of(slots)
        tasks = [ask(queue, value) for value in (1, 2, 3)]
        await turns()
        tasks[1].cancel()
        await slots.finish_all()
        # It does not run either, since it was cancelled before its batch began.
        assert slots.batches == [[1, 3], [1], [3]]
        assert [values(await tasks[index]) for index in (0, 2)] == [[1], [3]]

    on_jumping_clock(main())


def test_an_output_without_rows_cannot_be_batched_and_is_still_answered_alone() -> None:
    def graph(inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None) -> dict[str, np.ndarray]:
        return {"y": np.array([7.0, 8.0, 9.0])}

    async def main() -> None:
        slots = PuppetSlots(graph=graph)
        queue = queue_of(slots)
        tasks = [ask(queue, 1), ask(queue, 2)]
        await slots.finish_all()
        assert [values(await task) for task in tasks] == [[7, 8, 9]] * 2
        large = ask(queue, *range(6))
        await slots.finish_all()
        with pytest.raises(FailedPrecondition, match="cannot be split"):
            await large

    on_jumping_clock(main())


def test_finish_runs_with_the_batch_and_its_failure_is_only_its_own() -> None:
    def broken(answer: dict[str, np.ndarray]) -> float:
        raise ValueError("cannot finish")

    async def main() -> None:
        slots = PuppetSlots()
        queue = queue_of(slots)
        blocker = ask(queue, 0)
        await turns()
        first, second = Making(), Making()
        good = later(queue, first, finish=lambda answer: float(answer["y"][0, 0]) + 0.5)
        bad = later(queue, second, finish=broken)
        await turns()
        first.give(x(1))
        second.give(x(2))
        await slots.finish_all()
        assert await good == 2.5
        with pytest.raises(ValueError, match="cannot finish"):
            await bad
        assert slots.batches == [[0], [1, 2]]
        await blocker

    on_jumping_clock(main())


def test_no_error_of_one_member_keeps_the_others_waiting() -> None:
    def finish(outputs: Mapping[str, np.ndarray]) -> float:
        return next(value for value in outputs["y"].reshape(-1).tolist() if value != 4)

    async def main() -> None:
        slots = PuppetSlots()
        queue = queue_of(slots)
        made: list[float] = []
        tasks = [made_by_worker(queue, value, made, deadline=100.0, finish=finish) for value in (1, 2, 3)]
        await slots.finish_all()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert asyncio.get_running_loop().time() == 0
        assert [answers[0], answers[2]] == [2, 6]
        assert isinstance(answers[1], RuntimeError)

    on_jumping_clock(main())
