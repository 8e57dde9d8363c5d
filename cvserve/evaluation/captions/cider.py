"""CIDEr-D (Vedantam et al. 2015, arXiv 1411.5726, section 6) as the COCO caption evaluation has it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cvserve.evaluation.captions.ngrams import ORDERS, Ngram, Sentence, ngrams

SIGMA = 6.0
"""By how many words an answer may differ from a reference in length: the width of the penalty."""

_SCALE = 10.0


@dataclass(frozen=True)
class _Weighted:
    """A sentence's n-grams of one order, each with its count times its weight, and their norm."""

    weights: Mapping[Ngram, float]
    norm: float


def cider_d(answers: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> list[float]:
    """The score of each image, 0 to 10; that of all of them is the mean.

    n-grams count the less, the more images have them in their references: log(images / images with it). The
    weights come from the references that are scored with, so that scores of different sets are not comparable, and
    those of a single image are 0.
    """
    images = math.log(len(references)) if references else 0.0
    frequency = Counter(
        ngram
        for own in references
        for ngram in {ngram for words in own for order in range(1, ORDERS + 1) for ngram in ngrams(words, order)}
    )

    def weighted(words: Sentence) -> list[_Weighted]:
        made = []
        for order in range(1, ORDERS + 1):
            counts = ngrams(words, order)
            weights = {ngram: count * (images - math.log(max(1, frequency[ngram]))) for ngram, count in counts.items()}
            made.append(_Weighted(weights, math.sqrt(sum(weight * weight for weight in weights.values()))))
        return made

    scores = []
    for answer, own in zip(answers, references, strict=True):
        mine = weighted(answer)
        total = 0.0
        for reference in own:
            penalty = math.exp(-((_length(answer) - _length(reference)) ** 2) / (2 * SIGMA**2))
            total += penalty * sum(_similarity(*pair) for pair in zip(mine, weighted(reference), strict=True))
        scores.append(_SCALE * total / ORDERS / len(own))
    return scores


def _similarity(answer: _Weighted, reference: _Weighted) -> float:
    """The cosine of the two, but what an answer says more often than the reference counts only as often."""
    product = sum(
        min(weight, reference.weights[ngram]) * reference.weights[ngram]
        for ngram, weight in answer.weights.items()
        if ngram in reference.weights
    )
    norms = answer.norm * reference.norm
    return product / norms if norms else product


def _length(words: Sentence) -> int:
    """What that evaluation compares: the number of pairs of words, one less than words but never under 0."""
    return max(0, len(words) - 1)
