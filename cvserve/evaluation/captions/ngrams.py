"""Counts n-grams."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

Sentence = Sequence[str]
"""The words of a sentence."""

Ngram = tuple[str, ...]

ORDERS = 4
"""Scores count n-grams of 1 to this many words."""


def ngrams(words: Sentence, order: int) -> Counter[Ngram]:
    """Returns how often each n-gram of `order` words occurs in a sentence."""
    return Counter(tuple(words[start : start + order]) for start in range(len(words) - order + 1))
