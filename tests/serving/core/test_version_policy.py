"""Which versions are wanted, and what is loaded and unloaded next."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvserve.errors import InvalidInput
from cvserve.serving.core.version_policy import (
    All,
    Failure,
    Known,
    Latest,
    Specific,
    Step,
    VersionPolicy,
    aspired,
    may_retry,
    parse_policy,
    plan,
)


@pytest.mark.parametrize(
    ("policy", "on_disk", "expected"),
    [
        (Latest(), [1, 10, 9], [10]),
        (Latest(2), [1, 10, 9], [9, 10]),
        (Latest(5), [3, 1], [1, 3]),
        # TensorFlow Serving: 0 means 1.
        (Latest(0), [1, 2], [2]),
        (All(), [2, 1, 7], [1, 2, 7]),
        (Specific((7, 2, 4)), [1, 2, 7], [2, 7]),
        (Specific((3,)), [1, 2], []),
        (Latest(), [], []),
    ],
)
def test_aspired(policy: VersionPolicy, on_disk: list[int], expected: list[int]) -> None:
    assert aspired(policy, on_disk) == expected


LIVE, BROKEN, AGAIN = Known(available=True), Known(), Known(may_retry=True)


@pytest.mark.parametrize(
    ("wanted", "known", "expected"),
    [
        # The first one, and a newer one beside the one that answers.
        ([1], {}, Step(load=(1,))),
        ([2], {1: LIVE}, Step(load=(2,))),
        # Only then is the old one unloaded.
        ([2], {1: LIVE, 2: LIVE}, Step(unload=(1,))),
        # A broken one replaces nothing, and is tried again when it is time.
        ([2], {1: LIVE, 2: BROKEN}, Step()),
        ([2], {1: LIVE, 2: AGAIN}, Step(load=(2,))),
        # Another one that is wanted answers.
        ([2, 3], {1: LIVE, 2: LIVE, 3: BROKEN}, Step(unload=(1,))),
        # Newest first.
        ([1, 2, 3], {}, Step(load=(3, 2, 1))),
        # No version is wanted: all are unloaded.
        ([], {1: LIVE, 2: LIVE, 3: BROKEN}, Step(unload=(1, 2))),
        # Back to an older one.
        ([1], {2: LIVE}, Step(load=(1,))),
        ([1, 2], {1: LIVE, 2: LIVE}, Step()),
    ],
)
def test_plan(wanted: list[int], known: dict[int, Known], expected: Step) -> None:
    assert plan(wanted, known) == expected


@given(
    st.sets(st.integers(0, 6)),
    st.dictionaries(st.integers(0, 6), st.sampled_from([LIVE, BROKEN, AGAIN])),
    st.sets(st.integers(0, 6)),
)
def test_a_model_that_answers_never_stops_answering(
    wanted: set[int], known: dict[int, Known], broken: set[int]
) -> None:
    """Carries plans out until nothing changes, with some versions that cannot be loaded."""
    state = dict(known)
    for _ in range(20):
        answered = any(each.available for each in state.values())
        step = plan(sorted(wanted), state)
        for version in step.load:
            state[version] = BROKEN if version in broken else LIVE
        for version in step.unload:
            del state[version]
        if answered and wanted:
            assert any(each.available for each in state.values())
        if step == Step():
            break
    else:
        raise AssertionError("it never comes to rest")
    live = {version for version, each in state.items() if each.available}
    if live & wanted or not wanted:
        assert live <= wanted
    assert {version for version in wanted - broken if version not in known or known[version].may_retry} <= live


def test_a_failure_is_tried_again_when_files_change_or_time_has_passed() -> None:
    failed = Failure(tries=1, when=100.0, files="a")
    rules = {"every": 60.0, "retries": 2}
    assert not may_retry(failed, "a", 159.9, **rules)
    assert may_retry(failed, "a", 160.0, **rules)
    assert may_retry(failed, "b", 100.0, **rules)
    # The first try and two more.
    assert may_retry(Failure(2, 100.0, "a"), "a", 160.0, **rules)
    assert not may_retry(Failure(3, 100.0, "a"), "a", 1e9, **rules)
    assert may_retry(Failure(3, 100.0, "a"), "b", 100.0, **rules)


def test_policies_in_settings() -> None:
    assert parse_policy("latest") == Latest(1)
    assert parse_policy("latest 3") == Latest(3)
    assert parse_policy("all") == All()
    assert parse_policy((4, 2, 4)) == Specific((2, 4))
    for wrong in ("newest", "latest 0", "latest two", "all 2", "", (), (-1,)):
        with pytest.raises(InvalidInput, match="versions = "):
            parse_policy(wrong)
