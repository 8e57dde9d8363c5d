"""Holds the scores of one caption, and finds the images with the worst and the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cvserve.evaluation.captions.rouge import rouge_l
from cvserve.text import caption_words


@dataclass(frozen=True)
class ImageScores:
    """Holds the scores of one image's caption.

    bleu: BLEU-1 to BLEU-4 of it alone. exact: whether it is one of the references, word for word.
    """

    bleu: tuple[float, ...]
    rouge_l: float
    cider_d: float
    exact: bool


@dataclass(frozen=True)
class ScoredImage:
    """Holds an image's caption, its references and its scores. index: the image's place in the data set."""

    index: int
    answer: str
    references: tuple[str, ...]
    scores: ImageScores

    @property
    def closest(self) -> str:
        """Returns the reference that is most like the answer, by ROUGE-L; the first of equal ones."""
        words = caption_words(self.answer)
        likeness = rouge_l([words] * len(self.references), [[caption_words(text)] for text in self.references])
        return self.references[likeness.index(max(likeness))]


def worst_and_best(images: Sequence[ScoredImage], each: int) -> tuple[list[ScoredImage], list[ScoredImage]]:
    """Returns up to `each` images with the lowest and with the highest CIDEr-D, the most extreme first.

    ROUGE-L decides between equal ones. No image is in both lists.
    """
    ranked = sorted(images, key=lambda item: (item.scores.cider_d, item.scores.rouge_l))
    low = ranked[: min(each, (len(ranked) + 1) // 2)]
    return low, ranked[len(low) :][::-1][:each]
