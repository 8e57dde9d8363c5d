"""All scores of a set of captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from cvserve.errors import InvalidInput
from cvserve.evaluation.captions.bleu import bleu
from cvserve.evaluation.captions.cider import cider_d
from cvserve.evaluation.captions.rouge import rouge_l
from cvserve.text import caption_words


@dataclass(frozen=True)
class ImageScores:
    """Of one image. bleu: BLEU-1 to BLEU-4 of it alone. exact: the answer is one of the references, word for word."""

    bleu: tuple[float, ...]
    rouge_l: float
    cider_d: float
    exact: bool


@dataclass(frozen=True)
class CaptionReport:
    """bleu1 to bleu4: of all images together, 0 to 1. rouge_l: mean, 0 to 1. cider_d: mean, 0 to 10; COCO calls it
    CIDEr. exact: the share of answers that are one of the references, word for word. words: mean of the answers.
    different: how many different answers there are. references: how many there are of all images.

    each: the scores of each.
    """

    bleu1: float
    bleu2: float
    bleu3: float
    bleu4: float
    rouge_l: float
    cider_d: float
    exact: float
    words: float
    different: int
    images: int
    references: int
    each: tuple[ImageScores, ...] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The scores of all images together."""
        return {name: value for name, value in vars(self).items() if name != "each"}

    def table(self) -> tuple[list[tuple[Any, ...]], tuple[str, ...]]:
        """Rows and column names: a score a row."""
        names = {"bleu1": "BLEU-1", "bleu2": "BLEU-2", "bleu3": "BLEU-3", "bleu4": "BLEU-4", "rouge_l": "ROUGE-L"}
        names |= {
            "cider_d": "CIDEr-D",
            "exact": "exact",
            "words": "words a sentence",
            "different": "different sentences",
        }
        return [(shown, getattr(self, name)) for name, shown in names.items()], ("score", "value")

    def headline(self) -> str:
        """The scores in one line."""
        return (
            f"BLEU-4 {self.bleu4:.4f}, ROUGE-L {self.rouge_l:.4f}, CIDEr-D {self.cider_d:.4f}, exact {self.exact:.4f}"
        )


def caption_report(answers: Sequence[str], references: Sequence[Sequence[str]]) -> CaptionReport:
    """Scores one sentence an image against the true ones.

    Raises:
        InvalidInput: no images, one without references, or lengths that do not fit.
    """
    if not answers:
        raise InvalidInput("there are no captions to score")
    if len(answers) != len(references):
        raise InvalidInput(f"{len(answers)} captions do not fit {len(references)} images")
    if not all(references):
        raise InvalidInput("an image without a true caption cannot be scored")
    said = [caption_words(text) for text in answers]
    true = [[caption_words(text) for text in own] for own in references]
    by_bleu, by_rouge, by_cider = bleu(said, true), rouge_l(said, true), cider_d(said, true)
    exact = [words in own for words, own in zip(said, true, strict=True)]
    scores = tuple(ImageScores(*values) for values in zip(by_bleu.each, by_rouge, by_cider, exact, strict=True))
    return CaptionReport(
        **{f"bleu{order}": score for order, score in enumerate(by_bleu.corpus, start=1)},
        rouge_l=fmean(by_rouge),
        cider_d=fmean(by_cider),
        exact=fmean(exact),
        words=fmean(map(len, said)),
        different=len({tuple(words) for words in said}),
        images=len(said),
        references=sum(map(len, true)),
        each=scores,
    )
