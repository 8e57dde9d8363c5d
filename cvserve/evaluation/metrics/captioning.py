"""Scores captioners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cvserve.evaluation.captions import CaptionReport, caption_report
from cvserve.evaluation.task_metric import Indices, TaskMetric, numbered
from cvserve.postproc import Contract
from cvserve.postproc.decoders.captioning import decode_captioning
from cvserve.preproc import Geometry


class CaptionMetric:
    """Computes BLEU, ROUGE-L and CIDEr-D of one sentence an image against the true sentences.

    Example:
        >>> metric = CaptionMetric()
        >>> metric.update(["a red dog", "a cat"], [("a red dog", "the dog is red"), ("a black cat",)])
        >>> report = metric.compute()
        >>> report.exact, report.images, report.references
        (0.5, 2, 3)
    """

    def __init__(self) -> None:
        self._images: list[tuple[int, str, tuple[str, ...]]] = []

    def update(
        self,
        predictions: Sequence[str],
        ground_truths: Sequence[Sequence[str]],
        indices: Indices | None = None,
    ) -> None:
        """Adds images.

        Args:
            predictions: the sentence of each image.
            ground_truths: the true sentences of each image, at least one.
            indices: the places of the images in the data set, see `Metric.update`.
        """
        places = numbered(indices, len(self._images), len(predictions))
        for index, answer, references in zip(places, predictions, ground_truths, strict=True):
            self._images.append((index, answer, tuple(references)))

    def compute(self) -> CaptionReport:
        """Returns the scores of all images so far.

        Raises:
            InvalidInput: no images, or one without a true sentence.
        """
        images = sorted(self._images, key=lambda image: image[0])
        return caption_report(
            [answer for _, answer, _ in images],
            [references for _, _, references in images],
            [index for index, _, _ in images],
        )


def _best_sentences(outputs: Mapping[str, np.ndarray], geometries: Sequence[Geometry], contract: Contract) -> list[str]:
    return [result.best.text for result in decode_captioning(outputs, contract, max_results=1)]


METRIC = TaskMetric(
    create=lambda contract, dataset: CaptionMetric(),
    predictions=_best_sentences,
    ground_truth=lambda dataset, index, contract: dataset.captions(index),
)
