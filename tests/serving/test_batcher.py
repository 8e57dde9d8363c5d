"""The batcher with a clock that jumps and slots that do as they are told."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from serving_kit import PuppetSlots, on_jumping_clock, turns

from cvserve.errors import DeadlineExceeded, FailedPrecondition, ImageError, InvalidInput, Overloaded, Unavailable
from cvserve.serving.core.batch_policy import BatchLimits
from cvserve.serving.core.batcher import Batcher
from cvserve.serving.core.dispatcher import QueueBounds
from cvserve.serving.core.execution import WithLone
from cvserve.serving.core.mailbox import Mailbox
from cvserve.serving.core.requests import PRIORITY


def x(*values: float, dtype: str = "float32", width: int = 1) -> dict[str, np.ndarray]:
    """One request of `len(values)` rows."""
    return {"x": np.repeat(np.array(values, dtype)[:, np.newaxis], width, axis=1)}


def ask(batcher: Batcher, *values: float, **options: Any) -> asyncio.Task[Any]:
    return asyncio.ensure_future(batcher.run(x(*values), **options))


def batcher_of(slots: PuppetSlots, limits: BatchLimits | None = None, bounds: QueueBounds | None = None) -> Batcher:
    loop = asyncio.get_running_loop()
    return Batcher(
        slots.slots,
        limits or BatchLimits(4),
        bounds or QueueBounds(),
        Mailbox(loop),
        name="model 'm'",
        clock=loop.time,
    )


def values(answer: dict[str, np.ndarray]) -> list[float]:
    return answer["y"].reshape(-1).tolist()


def test_batches_grow_while_the_slot_is_busy() -> None:
    async def main() -> None:
        slots = PuppetSlots()
        batcher = batcher_of(slots)
        first = ask(batcher, 1)
        await turns()
        others = [ask(batcher, value) for value in (2, 3, 4, 5, 6)]
        await slots.finish_all()
        assert slots.batches == [[1], [2, 3, 4, 5], [6]]
        assert [values(await task) for task in (first, *others)] == [[2], [4], [6], [8], [10], [12]]
        assert (batcher.counts.requests, batcher.counts.batches, batcher.counts.rows) == (6, 3, 6)

    on_jumping_clock(main())


def test_a_request_that_has_the_machine_for_itself_runs_on_the_copy_for_it() -> None:
    async def main() -> None:
        slots = PuppetSlots(2)
        batcher = batcher_of(slots, BatchLimits(2))
        alone: list[list[float]] = []

        def lone(inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None) -> dict[str, np.ndarray]:
            alone.append(inputs["x"].reshape(-1).tolist())
            return {"y": inputs["x"] * 2}

        slots.graph_of = WithLone(slots.graph_of, lone)
        first = ask(batcher, 1)
        await turns()
        # The other slot is free, but this one is not alone; nor are those that share a batch, or that others wait for.
        second = ask(batcher, 2)
        await turns()
        third = [ask(batcher, value) for value in (3, 4, 5)]
        await turns()
        await slots.finish_all()
        assert [values(await task) for task in (first, second, *third)] == [[2], [4], [6], [8], [10]]
        assert (alone, slots.batches) == ([[1]], [[2], [3, 4], [5]])
        last = ask(batcher, 6)
        await turns()
        await slots.finish_all()
        assert values(await last) == [12]
        assert alone == [[1], [6]]

    on_jumping_clock(main())


def test_requests_of_one_turn_share_a_batch_without_any_delay() -> None:
    async def main() -> None:
        slots = PuppetSlots()
        batcher = batcher_of(slots)
        tasks = [ask(batcher, value) for value in (1, 2, 3)]
        await slots.finish_all()
        assert slots.batches == [[1, 2, 3]]
        await asyncio.gather(*tasks)

    on_jumping_clock(main())


def test_delay_waits_for_company_but_no_longer() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        slots = PuppetSlots()
        batcher = batcher_of(slots, BatchLimits(4, delay=0.010))
        first = ask(batcher, 1)
        await asyncio.sleep(0.006)
        assert not slots.running
        second = ask(batcher, 2)
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
        batcher = batcher_of(slots, BatchLimits(8))
        blocker = ask(batcher, 0)
        await turns()
        tasks = [
            ask(batcher, 1),
            asyncio.ensure_future(batcher.run(x(2, width=3))),
            asyncio.ensure_future(batcher.run(x(3, dtype="float64"))),
            ask(batcher, 4),
            ask(batcher, 5, outputs=["y"]),
            ask(batcher, 6, signature="other"),
        ]
        await slots.finish_all()
        assert slots.batches == [[0], [1, 4], [2, 2, 2], [3], [5], [6]]
        assert (await tasks[1])["y"].shape == (1, 3)
        await asyncio.gather(blocker, *tasks)

    on_jumping_clock(main())


def test_several_rows_are_batched_with_others_and_come_back_to_their_own() -> None:
    async def main() -> None:
        slots = PuppetSlots()
        batcher = batcher_of(slots)
        tasks = [ask(batcher, 1, 2), ask(batcher, 3), ask(batcher, 4)]
        await slots.finish_all()
        assert slots.batches == [[1, 2, 3, 4]]
        assert [values(await task) for task in tasks] == [[2, 4], [6], [8]]

    on_jumping_clock(main())


def test_a_request_larger_than_the_maximum_is_split_over_the_slots() -> None:
    async def main() -> None:
        slots = PuppetSlots(slots=2)
        batcher = batcher_of(slots)
        task = ask(batcher, *range(10))
        await turns()
        assert len(slots.running) == 2
        await slots.finish_all()
        assert sorted(slots.batches) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
        assert values(await task) == [2.0 * value for value in range(10)]

    on_jumping_clock(main())


def test_a_large_request_lets_others_have_their_turn() -> None:
    async def main() -> None:
        slots = PuppetSlots()
        batcher = batcher_of(slots, bounds=QueueBounds(requests=3))
        large = ask(batcher, *range(20))
        await turns()
        assert batcher.waiting == 1
        small = [ask(batcher, value, 90) for value in (50, 60)]
        await slots.finish_all()
        assert slots.batches[:3] == [[0, 1, 2, 3], [4, 5, 6, 7], [50, 90, 60, 90]]
        assert values(await large) == [2.0 * value for value in range(20)]
        await asyncio.gather(*small)
        # What the rest of the large one held is given back: bytes that are still counted would fill the queue.
        assert batcher.queued_bytes == 0

    on_jumping_clock(main())


def test_the_rest_of_a_large_request_counts_in_the_bytes_that_wait() -> None:
    async def main() -> None:
        slots = PuppetSlots()
        batcher = batcher_of(slots, bounds=QueueBounds(bytes=70))
        large = ask(batcher, *range(20))
        await turns()
        with pytest.raises(Overloaded):
            await ask(batcher, *range(4))
        large.cancel()
        await turns()
        later = ask(batcher, 5)
        await slots.finish_all()
        assert values(await later) == [10]

    on_jumping_clock(main())


def test_a_request_waits_no_longer_than_the_queue_allows_and_runs_as_long_as_it_takes() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        slots = PuppetSlots()
        batcher = batcher_of(slots, BatchLimits(1), QueueBounds(seconds=0.05))
        running = ask(batcher, 1)
        await turns()
        waiting = ask(batcher, 2)
        with pytest.raises(DeadlineExceeded, match="waited 50 ms for model 'm'"):
            await waiting
        assert loop.time() == pytest.approx(0.05)
        assert not running.done()
        await slots.finish_all()
        assert values(await running) == [2]
        assert slots.batches == [[1]]

    on_jumping_clock(main())


def test_requests_of_a_higher_priority_go_first_and_equals_keep_their_order() -> None:
    async def main() -> None:
        slots = PuppetSlots()
        batcher = batcher_of(slots, BatchLimits(2), QueueBounds(priority_levels=3, default_priority=2))

        def ask_at(priority: str | None, value: float) -> asyncio.Task[Any]:
            PRIORITY.set(priority)
            return ask(batcher, value)

        blocker = ask_at(None, 0)
        await turns()
        tasks = [ask_at(*pair) for pair in (("3", 1), (None, 2), ("1", 3), ("2", 4), ("1", 5), ("3", 6))]
        await slots.finish_all()
        assert slots.batches == [[0], [3, 5], [2, 4], [1, 6]]
        await asyncio.gather(blocker, *tasks)
        for wrong in ("0", "4", "first", "-1", "1" * 50):
            with pytest.raises(InvalidInput, match=r"is no priority; this model has 1 \(first\) to 3"):
                await ask_at(wrong, 1)

    on_jumping_clock(main())


def made_by_worker(batcher: Batcher, value: float, made: list[float], **options: Any) -> asyncio.Task[Any]:
    """A request whose tensors are made on the worker; `made` tells of which that happened. -1 cannot be made."""

    def make() -> dict[str, np.ndarray]:
        made.append(value)
        if value == -1:
            raise InvalidInput("not a picture")
        return x(value)

    return asyncio.ensure_future(batcher.run_made_by_worker(make, x(), size=100, **options))


def test_what_workers_make_shares_batches_and_fails_alone() -> None:
    async def main() -> None:
        slots = PuppetSlots()
        made: list[float] = []
        batcher = batcher_of(slots)
        tasks = [made_by_worker(batcher, 1, made), made_by_worker(batcher, -1, made), ask(batcher, 3)]
        await slots.finish_all()
        assert slots.batches == [[1, 3]]
        assert values(await tasks[0]) == [2]
        assert values(await tasks[2]) == [6]
        with pytest.raises(InvalidInput, match="not a picture"):
            await tasks[1]
        assert batcher.counts.retried == 0

    on_jumping_clock(main())


def test_what_nobody_waits_for_is_never_made() -> None:
    async def main() -> None:
        slots = PuppetSlots()
        made: list[float] = []
        batcher = batcher_of(slots, BatchLimits(1))
        tasks = [made_by_worker(batcher, value, made) for value in (1, 2, 3)]
        await turns()
        tasks[1].cancel()
        await slots.finish_all()
        assert made == [1, 3]
        assert values(await tasks[2]) == [6]

    on_jumping_clock(main())


def test_a_batch_that_fails_is_retried_with_what_was_made() -> None:
    def graph(inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None) -> dict[str, np.ndarray]:
        if (inputs["x"] == 2).any():
            raise RuntimeError("bad row")
        return {"y": inputs["x"]}

    async def main() -> None:
        slots = PuppetSlots(graph=graph)
        made: list[float] = []
        batcher = batcher_of(slots)
        tasks = [made_by_worker(batcher, value, made) for value in (1, 2)]
        await slots.finish_all()
        assert made == [1, 2]
        assert values(await tasks[0]) == [1]
        with pytest.raises(RuntimeError, match="bad row"):
            await tasks[1]

    on_jumping_clock(main())


def test_a_failed_piece_fails_the_whole_request_and_ends_its_other_pieces() -> None:
    def graph(inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None) -> dict[str, np.ndarray]:
        if (inputs["x"] == 1).any():
            raise RuntimeError("bad row")
        return {"y": inputs["x"]}

    async def main() -> None:
        slots = PuppetSlots(graph=graph)
        batcher = batcher_of(slots)
        task = ask(batcher, *range(12))
        await slots.finish_all()
        with pytest.raises(RuntimeError, match="bad row"):
            await task
        # The second piece took the slot in that very moment, but had not begun.
        assert slots.batches == [[0, 1, 2, 3]]
        assert batcher.waiting == 0

    on_jumping_clock(main())


def test_batches_are_padded_to_the_allowed_sizes_and_nobody_sees_the_padding() -> None:
    async def main() -> None:
        slots = PuppetSlots()
        batcher = batcher_of(slots, BatchLimits(4, allowed_rows=(1, 4)))
        tasks = [ask(batcher, 1, 2), ask(batcher, 3)]
        await slots.finish_all()
        assert slots.batches == [[1, 2, 3, 3]]
        assert [values(await task) for task in tasks] == [[2, 4], [6]]
        assert batcher.counts.padded_rows == 1

    on_jumping_clock(main())


def test_batching_off_runs_every_request_alone() -> None:
    async def main() -> None:
        slots = PuppetSlots(slots=2)
        batcher = batcher_of(slots, BatchLimits(4, batching=False))
        tasks = [ask(batcher, value) for value in (1, 2, 3)]
        await slots.finish_all()
        assert slots.batches == [[1], [2], [3]]
        await asyncio.gather(*tasks)

    on_jumping_clock(main())


def test_inputs_without_common_rows_run_alone_and_get_the_outputs_as_they_are() -> None:
    def graph(inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None) -> dict[str, np.ndarray]:
        return {"y": inputs["x"].sum()[np.newaxis][0] * inputs["z"]}

    async def main() -> None:
        slots = PuppetSlots(graph=graph)
        batcher = batcher_of(slots, BatchLimits(4, allowed_rows=(2, 4)))
        inputs = {"x": np.ones((6, 1)), "z": np.array(3.0)}
        task = asyncio.ensure_future(batcher.run(inputs))
        await slots.finish_all()
        assert (await task)["y"] == 18.0

    on_jumping_clock(main())


def test_a_deadline_in_the_queue_is_answered_on_time_while_a_long_batch_runs() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        slots = PuppetSlots()
        batcher = batcher_of(slots)
        running = ask(batcher, 1)
        await turns()
        late = ask(batcher, 2, deadline=0.3)
        with pytest.raises(DeadlineExceeded):
            await late
        assert loop.time() == pytest.approx(0.3)
        assert batcher.waiting == 0
        await slots.finish_all()
        assert slots.batches == [[1]]
        assert values(await running) == [2]
        assert batcher.counts.expired == 1

    on_jumping_clock(main())


def test_a_deadline_inside_a_running_batch_is_answered_on_time_too() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        slots = PuppetSlots()
        batcher = batcher_of(slots)
        hurried, calm = ask(batcher, 1, deadline=0.3), ask(batcher, 2)
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
        batcher = batcher_of(slots)
        with pytest.raises(DeadlineExceeded):
            await ask(batcher, 1, deadline=-1.0)
        await turns()
        assert not slots.running

    on_jumping_clock(main())


def test_cancelled_requests_never_run() -> None:
    async def main() -> None:
        slots = PuppetSlots()
        batcher = batcher_of(slots)
        running = ask(batcher, 1)
        await turns()
        waiting, large = ask(batcher, 2), ask(batcher, *range(10, 20))
        await turns()
        waiting.cancel()
        large.cancel()
        await turns()
        assert batcher.waiting == 0
        await slots.finish_all()
        assert slots.batches == [[1]]
        await running

    on_jumping_clock(main())


def test_a_full_queue_refuses_at_once_and_takes_again_when_there_is_room() -> None:
    async def main() -> None:
        slots = PuppetSlots()
        batcher = batcher_of(slots, bounds=QueueBounds(requests=2))
        tasks = [ask(batcher, 1)]
        await turns()
        tasks += [ask(batcher, 2), ask(batcher, 3)]
        await turns()
        with pytest.raises(Overloaded, match="the queue of model 'm' is full: 2 requests") as refused:
            await batcher.run(x(4))
        assert refused.value.retry_after > 0
        assert batcher.counts.rejected == 1
        await slots.finish_all()
        again = ask(batcher, 5)
        await slots.finish_all()
        assert values(await again) == [10]
        await asyncio.gather(*tasks)

    on_jumping_clock(main())


def test_the_queue_is_bounded_in_bytes_but_one_request_always_fits() -> None:
    async def main() -> None:
        slots = PuppetSlots()
        batcher = batcher_of(slots, bounds=QueueBounds(requests=100, bytes=20))
        tasks = [ask(batcher, 1)]
        await turns()
        tasks.append(ask(batcher, *range(4)))
        tasks.append(ask(batcher, 9))
        await turns()
        with pytest.raises(Overloaded):
            await batcher.run(x(5))
        await slots.finish_all()
        huge = ask(batcher, *range(100))
        await slots.finish_all()
        assert len(values(await huge)) == 100
        await asyncio.gather(*tasks)

    on_jumping_clock(main())


class Making:
    """Tensors that are made when the test says so."""

    def __init__(self) -> None:
        self.given_up = 0

    def __call__(self, give: Any, fail: Any) -> Any:
        self.give, self.fail = give, fail

        def give_up() -> None:
            self.given_up += 1

        return give_up


def later(batcher: Batcher, making: Making, **options: Any) -> asyncio.Task[Any]:
    return asyncio.ensure_future(batcher.run_when_made(making, **options))


def test_tensors_that_are_still_being_made_hold_their_place_and_join_a_batch() -> None:
    async def main() -> None:
        slots = PuppetSlots()
        batcher = batcher_of(slots, bounds=QueueBounds(requests=2))
        first, second = Making(), Making()
        tasks = [later(batcher, first), later(batcher, second)]
        await turns()
        assert batcher.waiting == 2
        with pytest.raises(Overloaded):
            await batcher.run(x(1))
        # It needs no turn of the loop: the pixels go from the decoding thread into a batch.
        first.give(x(1))
        assert len(slots.running) == 1
        second.give(x(2))
        assert batcher.waiting == 1
        await slots.finish_all()
        assert slots.batches == [[1], [2]]
        assert [values(await task) for task in tasks] == [[2], [4]]
        assert batcher.waiting == 0

    on_jumping_clock(main())


def test_a_failure_while_making_is_the_answer() -> None:
    async def main() -> None:
        batcher = batcher_of(PuppetSlots())
        making = Making()
        task = later(batcher, making)
        await turns()
        making.fail(ImageError("image", "it is broken"))
        with pytest.raises(ImageError, match="it is broken"):
            await task
        assert batcher.waiting == 0

    on_jumping_clock(main())


def test_what_is_given_up_while_it_is_made_never_runs() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        slots = PuppetSlots()
        batcher = batcher_of(slots)
        cancelled, late = Making(), Making()
        first, second = later(batcher, cancelled), later(batcher, late, deadline=0.3)
        await turns()
        first.cancel()
        with pytest.raises(DeadlineExceeded):
            await second
        assert loop.time() == pytest.approx(0.3)
        assert (cancelled.given_up, late.given_up) == (1, 1)
        assert batcher.waiting == 0
        # A thread that was at it all the same hands its result over too late.
        cancelled.give(x(1))
        late.give(x(2))
        await turns()
        assert not slots.running
        assert batcher.waiting == 0

    on_jumping_clock(main())


def test_a_making_that_cannot_begin_leaves_no_trace() -> None:
    def full(give: Any, fail: Any) -> Any:
        raise Overloaded("too many pictures wait to be decoded")

    async def main() -> None:
        batcher = batcher_of(PuppetSlots())
        with pytest.raises(Overloaded, match="too many pictures"):
            await batcher.run_when_made(full, deadline=100.0)
        assert batcher.waiting == 0
        # Nor a timer: it would count as expired, and the log would tell of an error that nobody asked for.
        timers = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
        assert not [timer for timer in timers if not timer.cancelled()]

    on_jumping_clock(main())


def test_when_a_batch_fails_its_members_run_once_more_each_alone() -> None:
    def graph(inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None) -> dict[str, np.ndarray]:
        if (inputs["x"] == 2).any():
            raise RuntimeError("bad row")
        return {"y": inputs["x"] * 2}

    async def main() -> None:
        slots = PuppetSlots(graph=graph)
        batcher = batcher_of(slots)
        tasks = [ask(batcher, value) for value in (1, 2, 3)]
        await turns()
        later = ask(batcher, 4)
        await slots.finish_all()
        # The members go before those who came later, and the bad one is not tried a third time.
        assert slots.batches == [[1, 2, 3], [1], [2], [3], [4]]
        assert values(await tasks[0]) == [2]
        assert values(await tasks[2]) == [6]
        assert values(await later) == [8]
        with pytest.raises(RuntimeError, match="bad row"):
            await tasks[1]

    on_jumping_clock(main())


def test_what_is_retried_alone_waits_for_no_company() -> None:
    def graph(inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None) -> dict[str, np.ndarray]:
        if (inputs["x"] == 2).any():
            raise RuntimeError("bad row")
        return {"y": inputs["x"] * 2}

    async def main() -> None:
        slots = PuppetSlots(graph=graph)
        batcher = batcher_of(slots, BatchLimits(2, delay=30))
        good, bad = ask(batcher, 1), ask(batcher, 2)
        await slots.finish_all()
        assert asyncio.get_running_loop().time() == 0
        assert values(await good) == [2]
        with pytest.raises(RuntimeError, match="bad row"):
            await bad

    on_jumping_clock(main())


def test_a_member_that_was_given_up_is_not_retried() -> None:
    def graph(inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None) -> dict[str, np.ndarray]:
        if len(inputs["x"]) > 1:
            raise RuntimeError("only alone")
        return {"y": inputs["x"]}

    async def main() -> None:
        slots = PuppetSlots(graph=graph)
        batcher = batcher_of(slots)
        tasks = [ask(batcher, value) for value in (1, 2, 3)]
        await turns()
        tasks[1].cancel()
        await slots.finish_all()
        # Nor does it run at all, since it was given up before its batch did.
        assert slots.batches == [[1, 3], [1], [3]]
        assert [values(await tasks[index]) for index in (0, 2)] == [[1], [3]]

    on_jumping_clock(main())


def test_an_output_without_rows_cannot_be_batched_and_is_still_answered_alone() -> None:
    def graph(inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None) -> dict[str, np.ndarray]:
        return {"y": np.array([7.0, 8.0, 9.0])}

    async def main() -> None:
        slots = PuppetSlots(graph=graph)
        batcher = batcher_of(slots)
        tasks = [ask(batcher, 1), ask(batcher, 2)]
        await slots.finish_all()
        assert [values(await task) for task in tasks] == [[7, 8, 9]] * 2
        large = ask(batcher, *range(6))
        await slots.finish_all()
        with pytest.raises(FailedPrecondition, match="cannot be split"):
            await large

    on_jumping_clock(main())


def test_finish_runs_with_the_batch_and_its_failure_is_only_its_own() -> None:
    def broken(answer: dict[str, np.ndarray]) -> float:
        raise ValueError("cannot finish")

    async def main() -> None:
        slots = PuppetSlots()
        batcher = batcher_of(slots)
        blocker = ask(batcher, 0)
        await turns()
        first, second = Making(), Making()
        good = later(batcher, first, finish=lambda answer: float(answer["y"][0, 0]) + 0.5)
        bad = later(batcher, second, finish=broken)
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
        batcher = batcher_of(slots)
        made: list[float] = []
        tasks = [made_by_worker(batcher, value, made, deadline=100.0, finish=finish) for value in (1, 2, 3)]
        await slots.finish_all()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert asyncio.get_running_loop().time() == 0
        assert [answers[0], answers[2]] == [2, 6]
        assert isinstance(answers[1], RuntimeError)

    on_jumping_clock(main())


def test_closing_answers_those_that_wait_and_refuses_the_next() -> None:
    async def main() -> None:
        slots = PuppetSlots()
        batcher = batcher_of(slots)
        running = ask(batcher, 1)
        await turns()
        making = Making()
        waiting, coming = ask(batcher, 2), later(batcher, making)
        await turns()
        batcher.close()
        making.give(x(4))
        for refused in (waiting, coming, ask(batcher, 3)):
            with pytest.raises(Unavailable):
                await refused
        await slots.finish_all()
        assert values(await running) == [2]

    on_jumping_clock(main())


def test_timers_leave_nothing_behind() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        slots = PuppetSlots()
        batcher = batcher_of(slots)
        for value in range(50):
            task = ask(batcher, value, deadline=loop.time() + 1000)
            await slots.finish_all()
            await task
        pending = [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        assert not pending
        assert loop.time() < math.inf

    on_jumping_clock(main())
