"""Scoring classifiers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cvserve.data import Dataset
from cvserve.evaluation.classification import ClassificationReport, classification_report
from cvserve.evaluation.plots import draw_confusion
from cvserve.postproc import Contract, class_scores
from cvserve.preproc import Geometry


class ClassificationMetric:
    """Keeps the probabilities of all images. Writes confusion.png."""

    def __init__(self, contract: Contract, dataset: Dataset) -> None:
        self._contract = contract
        self._dataset = dataset
        self._labels: list[int] = []
        self._answers: list[np.ndarray] = []
        self._report: ClassificationReport | None = None

    def ground_truth(self, index: int) -> int:
        """The image's class."""
        return self._dataset.label(index)

    def add(
        self,
        indices: Sequence[int],
        outputs: Mapping[str, np.ndarray],
        geometries: Sequence[Geometry],
        ground_truths: Sequence[int],
    ) -> None:
        self._answers.append(class_scores(outputs, self._contract))
        self._labels += ground_truths

    def report(self) -> ClassificationReport:
        self._report = classification_report(
            np.concatenate(self._answers), np.array(self._labels), self._contract.labels
        )
        return self._report

    def write(self, directory: Path) -> None:
        assert self._report is not None, "report() is called first"
        draw_confusion(self._report.confusion, self._contract.labels, directory / "confusion.png")
