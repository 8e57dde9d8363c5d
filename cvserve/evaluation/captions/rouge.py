"""Computes ROUGE-L (Lin 2004) as the COCO caption evaluation does."""

from __future__ import annotations

from collections.abc import Sequence

from cvserve.evaluation.captions.ngrams import Sentence

BETA = 1.2
"""How much more recall counts than precision."""

# COCO's evaluation treats a sentence without words as one empty word.
_NOTHING = ("",)


def rouge_l(answers: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> list[float]:
    """Returns the score of each image, 0 to 1. The score of a set is their mean.

    F = (1 + beta^2) P R / (R + beta^2 P), where the precision P is the length of the longest common subsequence divided
    by that of the answer, and the recall R divided by that of the reference, each the best over the references.

    Args:
        answers: one for each image. references: of each image, at least one.

    Example:
        >>> rouge_l([("a", "red", "dog")], [[("a", "dog"), ("a", "red", "dog")]])
        [1.0]
    """
    return [_score(answer or _NOTHING, own) for answer, own in zip(answers, references, strict=True)]


def _score(answer: Sentence, references: Sequence[Sentence]) -> float:
    common = [(longest_common(answer, reference or _NOTHING), len(reference or _NOTHING)) for reference in references]
    precision = max(words for words, _ in common) / len(answer)
    recall = max(words / length for words, length in common)
    if not precision or not recall:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def longest_common(one: Sentence, other: Sentence) -> int:
    """Returns the length of the longest common subsequence: words that both have in the same order.

    Example:
        >>> longest_common(("a", "red", "dog"), ("a", "big", "dog"))
        2
    """
    row = [0] * (len(other) + 1)
    for word in one:
        diagonal = 0
        for place, candidate in enumerate(other, start=1):
            above = row[place]
            row[place] = diagonal + 1 if word == candidate else max(above, row[place - 1])
            diagonal = above
    return row[-1]
