"""Computes all scores of a set of captions, and writes them to files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from cvserve.errors import InvalidInput
from cvserve.evaluation.captions.bleu import bleu
from cvserve.evaluation.captions.cider import cider_d
from cvserve.evaluation.captions.page import draw_page
from cvserve.evaluation.captions.rouge import rouge_l
from cvserve.evaluation.captions.scored import ImageScores, ScoredImage
from cvserve.evaluation.coco_format import coco_caption_ground_truth, coco_caption_results
from cvserve.postproc import Contract
from cvserve.runs import write_text
from cvserve.text import caption_words


@dataclass(frozen=True)
class CaptionReport:
    """Holds the scores of the captions of a set of images.

    bleu1 to bleu4: of all images together, 0 to 1. rouge_l: mean, 0 to 1. cider_d: mean, 0 to 10; COCO calls it CIDEr.
    exact: the fraction of answers that equal one of their references, word for word. words: mean length of an answer.
    different: the number of different answers. references: the number of references of all images.
    each: the images with their own scores.
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
    each: tuple[ScoredImage, ...] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Returns the scores of all images together, ready for JSON."""
        return {name: value for name, value in vars(self).items() if name != "each"}

    def table(self) -> tuple[list[tuple[Any, ...]], tuple[str, ...]]:
        """Returns rows and column names: one row for each score."""
        names = {"bleu1": "BLEU-1", "bleu2": "BLEU-2", "bleu3": "BLEU-3", "bleu4": "BLEU-4", "rouge_l": "ROUGE-L"}
        names |= {
            "cider_d": "CIDEr-D",
            "exact": "exact",
            "words": "words a sentence",
            "different": "different sentences",
        }
        return [(shown, getattr(self, name)) for name, shown in names.items()], ("score", "value")

    def headline(self) -> str:
        """Returns the scores in one line."""
        return (
            f"BLEU-4 {self.bleu4:.4f}, ROUGE-L {self.rouge_l:.4f}, CIDEr-D {self.cider_d:.4f}, exact {self.exact:.4f}"
        )

    def write(self, directory: Path, dataset: Any, contract: Contract) -> None:
        """Writes captions.json, ground_truth.json and captions.jpg.

        The JSON files have COCO's formats and hold just the images that were scored; pycocoevalcap computes the same
        scores from them. The page shows the worst and the best captions with their images.
        """
        image_ids = [dataset.image_id(item.index) for item in self.each]
        names = [dataset.name(item.index) for item in self.each]
        results = coco_caption_results([item.answer for item in self.each], image_ids)
        write_text(directory / "captions.json", json.dumps(results, ensure_ascii=False))
        ground_truth = coco_caption_ground_truth([item.references for item in self.each], image_ids, names)
        write_text(directory / "ground_truth.json", json.dumps(ground_truth, ensure_ascii=False))
        draw_page(self.each, dataset, directory / "captions.jpg")


def caption_report(
    answers: Sequence[str], references: Sequence[Sequence[str]], indices: Sequence[int] | None = None
) -> CaptionReport:
    """Scores one sentence an image against the true ones.

    Args:
        answers: the sentence of each image. references: the true sentences of each image.
        indices: the places of the images in the data set; None counts from 0.

    Raises:
        InvalidInput: no images, one without references, or lengths that do not fit.
    """
    if not answers:
        raise InvalidInput("there are no captions to score")
    if len(answers) != len(references):
        raise InvalidInput(f"{len(answers)} captions do not fit {len(references)} images")
    if not all(references):
        raise InvalidInput("an image without a true caption cannot be scored")
    words = [caption_words(text) for text in answers]
    true = [[caption_words(text) for text in own] for own in references]
    by_bleu, by_rouge, by_cider = bleu(words, true), rouge_l(words, true), cider_d(words, true)
    exact = [answer in own for answer, own in zip(words, true, strict=True)]
    scores = [ImageScores(*values) for values in zip(by_bleu.each, by_rouge, by_cider, exact, strict=True)]
    places = range(len(answers)) if indices is None else indices
    return CaptionReport(
        **{f"bleu{order}": score for order, score in enumerate(by_bleu.corpus, start=1)},
        rouge_l=fmean(by_rouge),
        cider_d=fmean(by_cider),
        exact=fmean(exact),
        words=fmean(map(len, words)),
        different=len({tuple(answer) for answer in words}),
        images=len(words),
        references=sum(map(len, true)),
        each=tuple(
            ScoredImage(index, answer, tuple(own), own_scores)
            for index, answer, own, own_scores in zip(places, answers, references, scores, strict=True)
        ),
    )
