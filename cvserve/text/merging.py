"""Implements byte-pair encoding on characters (Sennrich et al. 2016, arXiv 1508.07909) without a list of merges.

Two neighbours are merged if both together are a token, whichever two they are; the token that was learned first comes
first. Learning goes by the same rule, so that a learned unit is encoded just as learning left it.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import pairwise


def merged(parts: list[str], ranks: Mapping[str, int]) -> list[str]:
    """Merges neighbours as long as any two make a token; the token of the lowest rank first, left to right."""
    parts = list(parts)
    while len(parts) > 1:
        rank, place = min((ranks.get(left + right, len(ranks)), at) for at, (left, right) in enumerate(pairwise(parts)))
        if rank == len(ranks):
            break
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts


def learn_merges(counts: Mapping[str, int], most: int, min_count: int) -> list[str]:
    """Returns the tokens of several characters, in the order in which they are learned.

    Each is the whole of two neighbours that occurs most often at that point; of equally frequent ones the first in
    Unicode's order.

    Args:
        counts: how often each unit occurs.
        most: tokens. min_count: less frequent ones are not made.
    """
    names = sorted(counts)
    parts = [list(unit) for unit in names]
    pair_counts: Counter[str] = Counter()
    places: defaultdict[str, set[int]] = defaultdict(set)

    def count(number: int, sign: int) -> set[str]:
        wholes = [left + right for left, right in pairwise(parts[number])]
        for whole in wholes:
            pair_counts[whole] += sign * counts[names[number]]
            places[whole].add(number)
        return set(wholes)

    for number in range(len(names)):
        count(number, 1)
    waiting = [(-times, whole) for whole, times in pair_counts.items()]
    heapq.heapify(waiting)
    ranks: dict[str, int] = {}
    while waiting and len(ranks) < most:
        times, whole = heapq.heappop(waiting)
        if -times != pair_counts[whole] or whole in ranks:
            continue  # an older count; the newer one is in the heap, too
        if -times < min_count:
            break
        ranks[whole] = len(ranks)
        changed: set[str] = set()
        for number in places.pop(whole):
            before = count(number, -1)
            parts[number] = merged(parts[number], ranks)
            changed |= before | count(number, 1)
        for other in changed:
            if pair_counts[other] > 0:
                heapq.heappush(waiting, (-pair_counts[other], other))
    return list(ranks)
