"""The policy as a table, and properties for every queue."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvserve.errors import InvalidInput
from cvserve.serving.core.batching.policy import BatchLimits, decide


@dataclass(frozen=True)
class Request:
    name: str
    rows: int = 1
    group: str = "a"
    enqueued: float = 0.0
    deadline: float = math.inf


def names(requests: tuple[Request, ...]) -> str:
    return "".join(request.name for request in requests)


def queue(*requests: Request) -> list[Request]:
    return list(requests)


FOUR = BatchLimits(4)
DELAYED = BatchLimits(4, delay=0.010)


@pytest.mark.parametrize(
    ("waiting", "now", "free", "limits", "run", "wake_at"),
    [
        # Nothing waits.
        (queue(), 0.0, 1, FOUR, "", math.inf),
        # Delay 0: a lone request goes at once.
        (queue(Request("a")), 0.0, 1, FOUR, "a", math.inf),
        # No free slot: nothing runs, but deadlines are watched.
        (queue(Request("a", deadline=5)), 0.0, 0, FOUR, "", 5),
        (queue(Request("a", deadline=5)), 5.0, 0, FOUR, "", math.inf),
        # What waits while the slots are busy becomes one batch, up to the maximum.
        (queue(*(Request(name) for name in "abcdef")), 0.0, 1, FOUR, "abcd", math.inf),
        # Rows count, not requests.
        (queue(Request("a", rows=3), Request("b", rows=1), Request("c")), 0.0, 1, FOUR, "ab", math.inf),
        # What does not fit waits for the next batch; a smaller one behind it fills the gap.
        (queue(Request("a", rows=3), Request("b", rows=2), Request("c")), 0.0, 1, FOUR, "ac", math.inf),
        # A request of the maximum goes alone.
        (queue(Request("a", rows=4), Request("b")), 0.0, 1, FOUR, "a", math.inf),
        # Groups never mix, and the oldest request's group goes first.
        (queue(Request("a"), Request("b", group="b"), Request("c")), 0.0, 1, FOUR, "ac", math.inf),
        # A request past its deadline is never run.
        (queue(Request("a", deadline=1), Request("b")), 1.0, 1, FOUR, "b", math.inf),
        # With a delay a batch waits for more requests until the oldest one has waited that long.
        (queue(Request("a")), 0.005, 1, DELAYED, "", 0.010),
        (queue(Request("a"), Request("b", enqueued=0.009)), 0.010, 1, DELAYED, "ab", math.inf),
        # A full batch does not wait, even if an older group still does.
        (queue(*(Request(name) for name in "abcd")), 0.0, 1, DELAYED, "abcd", math.inf),
        (queue(Request("z", group="z"), *(Request(name) for name in "abcd")), 0.0, 1, DELAYED, "abcd", None),
        # A batch that the next request would overfill is full.
        (queue(Request("a", rows=3), Request("b", rows=3)), 0.0, 1, DELAYED, "a", math.inf),
        # A request whose deadline would pass during the delay is not delayed.
        (queue(Request("a", deadline=0.008)), 0.0, 1, DELAYED, "a", None),
        # The earliest end of a group's delay is the time to decide again.
        (
            queue(Request("a", enqueued=0.004), Request("b", group="b", enqueued=0.002)),
            0.005,
            1,
            DELAYED,
            "",
            0.012,
        ),
        # Batching off: one at a time, at once.
        (queue(Request("a"), Request("b")), 0.0, 2, BatchLimits(4, batching=False), "a", math.inf),
    ],
)
def test_decisions(
    waiting: list[Request],
    now: float,
    free: int,
    limits: BatchLimits,
    run: str,
    wake_at: float | None,
) -> None:
    decision = decide(waiting, now, free, limits)
    assert names(decision.run) == run
    if wake_at is not None:
        assert decision.wake_at == pytest.approx(wake_at)


requests = st.builds(
    Request,
    name=st.just("x"),
    rows=st.integers(1, 5),
    group=st.sampled_from("ab"),
    enqueued=st.floats(0, 2),
    deadline=st.one_of(st.just(math.inf), st.floats(0, 4)),
)


@given(
    waiting=st.lists(requests, max_size=12).map(lambda found: sorted(found, key=lambda request: request.enqueued)),
    free=st.integers(0, 2),
    limits=st.builds(BatchLimits, st.just(5), delay=st.sampled_from([0.0, 0.5]), batching=st.booleans()),
)
def test_every_decision_is_sound(waiting: list[Request], free: int, limits: BatchLimits) -> None:
    now = 2.0
    decision = decide(waiting, now, free, limits)
    assert all(request.deadline > now for request in decision.run)
    if decision.run:
        assert free
        assert sum(request.rows for request in decision.run) <= limits.max_rows
        assert len({request.group for request in decision.run}) == 1
        assert limits.batching or len(decision.run) == 1
        # No request of its group that came before its first one was skipped.
        alive = [request for request in waiting if request.deadline > now and request.group == decision.run[0].group]
        assert decision.run[0] is alive[0]
    elif free and limits.delay == 0:
        assert all(request.deadline <= now for request in waiting)
    else:
        # Waiting requests are decided on again before any of them is late.
        alive = [request for request in waiting if request.deadline > now]
        assert all(decision.wake_at <= request.deadline for request in alive)
        if free:
            assert all(decision.wake_at <= request.enqueued + limits.delay for request in alive)


@given(waiting=st.lists(requests, min_size=1, max_size=12))
def test_with_no_delay_the_queue_empties(waiting: list[Request]) -> None:
    """When decisions are repeated, every request that is not late leaves the queue exactly once."""
    left = [request for request in waiting if request.deadline > 2.0]
    late = [request for request in waiting if request.deadline <= 2.0]
    while left:
        decision = decide([*late, *left], 2.0, 1, BatchLimits(5))
        gone = [id(request) for request in decision.run]
        assert gone, "the policy would wait for ever"
        assert len(set(gone)) == len(gone)
        assert set(gone) <= {id(request) for request in left}
        left = [request for request in left if id(request) not in gone]
    assert decide(late, 2.0, 1, BatchLimits(5)).run == ()


@pytest.mark.parametrize(
    ("limits", "looked_at"),
    [(FOUR, 4), (DELAYED, 4), (BatchLimits(1), 1), (BatchLimits(4, batching=False), 1), (BatchLimits(1000), 100)],
)
def test_a_long_queue_is_read_only_as_far_as_the_batch_goes(limits: BatchLimits, looked_at: int) -> None:
    taken: list[str] = []

    def waiting() -> Iterator[Request]:
        for name in map(str, range(100)):
            taken.append(name)
            yield Request(name)

    decision = decide(waiting(), 1.0, 1, limits)
    assert len(decision.run) == len(taken) == looked_at


@pytest.mark.parametrize(
    ("rows", "allowed", "size"),
    [(3, (), 3), (1, (1, 4), 1), (2, (1, 4), 4), (4, (1, 4), 4)],
)
def test_padding(rows: int, allowed: tuple[int, ...], size: int) -> None:
    assert BatchLimits(4, allowed_rows=allowed).padded(rows) == size


@pytest.mark.parametrize(
    ("max_rows", "delay", "allowed", "text"),
    [
        (0, 0.0, (), "max_batch_size must be at least 1"),
        (4, -1.0, (), "the batch delay must be 0 to 60 seconds"),
        (4, math.nan, (), "the batch delay must be 0 to 60 seconds"),
        (4, 0.0, (4, 2), "must ascend"),
        (4, 0.0, (0, 4), "must ascend"),
        (4, 0.0, (1, 2), "Last entry in allowed_batch_sizes must match max_batch_size"),
    ],
)
def test_invalid_limits_are_refused(max_rows: int, delay: float, allowed: tuple[int, ...], text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        BatchLimits(max_rows, delay, allowed)
