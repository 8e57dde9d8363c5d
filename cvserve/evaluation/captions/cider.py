"""Computes CIDEr-D (Vedantam et al. 2015, arXiv 1411.5726, section 6) as the COCO caption evaluation does."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cvserve.evaluation.captions.ngrams import ORDERS, Ngram, Sentence, ngrams

SIGMA = 6.0
"""The standard deviation, in words, of the Gaussian penalty for a length that differs from the reference's."""

_SCALE = 10.0


@dataclass(frozen=True)
class _Weighted:
    """Holds a sentence's n-grams of one order, each with its count times its weight, and their norm."""

    weights: Mapping[Ngram, float]
    norm: float


def cider_d(answers: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> list[float]:
    """Returns the score of each image, 0 to 10. The score of a set is their mean.

    An n-gram weighs log(images / images that have it in their references). As the weights come from these references,
    scores of different sets cannot be compared, and the score of a single image is 0.

    Args:
        answers: one for each image. references: of each image, at least one.

    Example:
        >>> [round(score, 2) for score in cider_d([("a", "dog"), ("a", "cat")], [[("a", "dog")], [("two", "cats")]])]
        [5.0, 0.0]
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
    """Returns the cosine of the two; n-grams that the answer repeats count at most as often as in the reference."""
    product = sum(
        min(weight, reference.weights[ngram]) * reference.weights[ngram]
        for ngram, weight in answer.weights.items()
        if ngram in reference.weights
    )
    norms = answer.norm * reference.norm
    return product / norms if norms else product


def _length(words: Sentence) -> int:
    """Returns the length that COCO's evaluation compares: the number of word pairs, one less than words, at least 0."""
    return max(0, len(words) - 1)
