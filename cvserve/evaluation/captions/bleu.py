"""BLEU (Papineni et al. 2002) as the COCO caption evaluation has it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cvserve.evaluation.captions.ngrams import ORDERS, Ngram, Sentence, ngrams

# That evaluation's constants, by which nothing is divided by 0, and an order without matches gives almost 0, not 0.
_SMALL, _TINY = 1e-9, 1e-15


@dataclass(frozen=True)
class Bleu:
    """corpus: BLEU-1 to BLEU-4 of all images together. each: the same of each image alone."""

    corpus: tuple[float, ...]
    each: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Matches:
    """What BLEU counts of a sentence, or of several together.

    right: for each order, n-grams that a reference has, each as often as the one that has it most. total: n-grams.
    words: of the answer. reference_words: of the reference whose length is closest, of equally close ones the shorter.
    """

    right: tuple[int, ...]
    total: tuple[int, ...]
    words: int
    reference_words: int

    @classmethod
    def of(cls, answer: Sentence, references: Sequence[Sentence]) -> Matches:
        """One image's."""
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
        """BLEU-1 to BLEU-4: geometric means of the shares that are right, less where the answer is too short."""
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
        answers: one an image. references: of each image, at least one.
    """
    matches = [Matches.of(answer, own) for answer, own in zip(answers, references, strict=True)]
    together = Matches((0,) * ORDERS, (0,) * ORDERS, 0, 0)
    for item in matches:
        together += item
    return Bleu(together.scores(), tuple(item.scores() for item in matches))
