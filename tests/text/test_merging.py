"""Byte-pair encoding: the paper's example by hand, and learning compared with encoding."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from cvserve.text.merging import learn_merges, merged

UNITS = st.dictionaries(st.text(alphabet="abcd", min_size=1, max_size=8), st.integers(1, 5), min_size=1, max_size=8)


def slowly(counts: dict[str, int], most: int, min_count: int) -> list[str]:
    """Every merge with all units encoded anew."""
    tokens: list[str] = []
    while len(tokens) < most:
        ranks = {token: rank for rank, token in enumerate(tokens)}
        found: Counter[str] = Counter()
        for unit, times in counts.items():
            for left, right in pairwise(merged(list(unit), ranks)):
                found[left + right] += times
        best = min(found.items(), key=lambda item: (-item[1], item[0]), default=None)
        if best is None or best[1] < min_count:
            break
        tokens.append(best[0])
    return tokens


def test_the_example_of_the_paper() -> None:
    """Sennrich et al. 2016, algorithm 1, without its end-of-word mark; "es" and "st" are equally frequent, 9 times."""
    counts = {"low": 5, "lower": 2, "newest": 6, "widest": 3}
    assert learn_merges(counts, 4, 1) == ["es", "est", "lo", "low"]
    assert merged(list("lowest"), {"es": 0, "est": 1, "lo": 2, "low": 3}) == ["low", "est"]


def test_stops_where_tokens_are_rare() -> None:
    assert learn_merges({"ab": 4, "cd": 3}, 10, 4) == ["ab"]
    assert learn_merges({}, 10, 1) == []


def test_the_lowest_rank_goes_first() -> None:
    assert merged(list("abc"), {"bc": 0, "ab": 1}) == ["a", "bc"]
    assert merged(list("aaaa"), {"aa": 0}) == ["aa", "aa"]
    assert merged(list("aaaa"), {"aa": 0, "aaaa": 1}) == ["aaaa"]


@settings(deadline=None)
@given(UNITS, st.integers(0, 12), st.integers(1, 3))
def test_equals_counting_everything_anew(counts: dict[str, int], most: int, min_count: int) -> None:
    assert learn_merges(counts, most, min_count) == slowly(counts, most, min_count)


@settings(deadline=None)
@given(st.text(alphabet="abcd", max_size=20), UNITS)
def test_nothing_is_lost(text: str, counts: dict[str, int]) -> None:
    ranks = {token: rank for rank, token in enumerate(learn_merges(counts, 10, 1))}
    parts = merged(list(text), ranks)
    assert "".join(parts) == text
    assert not any(left + right in ranks for left, right in pairwise(parts))
