"""Computes BLEU (Papineni et al. 2002) as the COCO caption evaluation does."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cvserve.evaluation.captions.ngrams import ORDERS, Ngram, Sentence, ngrams

# COCO's constants: they prevent divisions by 0, and an order without matches counts as almost 0, not as 0.
_SMALL, _TINY = 1e-9, 1e-15


@dataclass(frozen=True)
class Bleu:
    """Holds the scores of a set of images.

    corpus: BLEU-1 to BLEU-4 of all images together. each: the same of each image alone.
    """

    corpus: tuple[float, ...]
    each: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Matches:
    """Holds the counts of a sentence, or the sums of several.

    right: for each order, how many n-grams are in a reference too, each counted at most as often as in the reference
    that has it most often. total: for each order, how many n-grams the answer has. words: of the answer.
    reference_words: of the reference with the closest length; of equally close ones the shorter.
    """

    right: tuple[int, ...]
    total: tuple[int, ...]
    words: int
    reference_words: int

    @classmethod
    def of(cls, answer: Sentence, references: Sequence[Sentence]) -> Matches:
        """Counts the matches of one image."""
        right = []
        for order in range(1, ORDERS + 1):
            most: Counter[Ngram] = Counter()
            for reference in references:
                most |= ngrams(reference, order)
            right.append((ngrams(answer, order) & most).total())
        total = tuple(max(0, len(answer) - order) for order in range(ORDERS))
        closest = min((abs(len(reference) - len(answer)), len(reference)) for reference in references)[1]
        return cls(tuple(right), total, len(answer), closest)

    def __add__(self, other: Matches) -> Matches:
        return Matches(
            tuple(map(sum, zip(self.right, other.right, strict=True))),
            tuple(map(sum, zip(self.total, other.total, strict=True))),
            self.words + other.words,
            self.reference_words + other.reference_words,
        )

    def scores(self) -> tuple[float, ...]:
        """Returns BLEU-1 to BLEU-4: geometric means of the precisions, with a penalty for short answers."""
        ratio = (self.words + _TINY) / (self.reference_words + _SMALL)
        penalty = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
        product, scores = 1.0, []
        for order, (right, total) in enumerate(zip(self.right, self.total, strict=True), start=1):
            product *= (right + _TINY) / (total + _SMALL)
            scores.append(product ** (1 / order) * penalty)
        return tuple(scores)


def bleu(answers: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> Bleu:
    """Scores answers, 0 to 1.

    Args:
        answers: one for each image. references: of each image, at least one.

    Example:
        >>> scores = bleu([("a", "red", "dog")], [[("a", "dog"), ("a", "big", "dog")]])
        >>> [round(score, 2) for score in scores.corpus]
        [0.67, 0.0, 0.0, 0.0]
    """
    matches = [Matches.of(answer, own) for answer, own in zip(answers, references, strict=True)]
    together = Matches((0,) * ORDERS, (0,) * ORDERS, 0, 0)
    for item in matches:
        together += item
    return Bleu(together.scores(), tuple(item.scores() for item in matches))
