"""ROUGE-L (Lin 2004) as the COCO caption evaluation has it."""

from __future__ import annotations

from collections.abc import Sequence

from cvserve.evaluation.captions.ngrams import Sentence

BETA = 1.2
"""How much more recall counts than precision."""

# What that evaluation makes of a sentence without words: one word, which is empty.
_NOTHING = ("",)


def rouge_l(answers: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> list[float]:
    """The score of each image, 0 to 1; that of all of them is the mean.

    Of the longest common subsequence: F = (1 + beta^2) P R / (R + beta^2 P), with P its share of the answer and R its
    share of the reference, each the best over the references.
    """
    return [_score(answer or _NOTHING, own) for answer, own in zip(answers, references, strict=True)]


def _score(answer: Sentence, references: Sequence[Sentence]) -> float:
    found = [(longest_common(answer, reference or _NOTHING), len(reference or _NOTHING)) for reference in references]
    precision = max(common for common, _ in found) / len(answer)
    recall = max(common / length for common, length in found)
    if not precision or not recall:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def longest_common(one: Sentence, other: Sentence) -> int:
    """The length of the longest sequence of words that both have in this order, with or without others between."""
    row = [0] * (len(other) + 1)
    for word in one:
        diagonal = 0
        for place, candidate in enumerate(other, start=1):
            above = row[place]
            row[place] = diagonal + 1 if word == candidate else max(above, row[place - 1])
            diagonal = above
    return row[-1]
