"""Scores classifiers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cvserve.evaluation.classification import ClassificationReport, classification_report
from cvserve.evaluation.task_metric import Indices, TaskMetric
from cvserve.postproc import class_scores


class ClassificationMetric:
    """Computes accuracy, loss and the confusion matrix from probabilities and true classes.

    Args:
        labels: the names of the C classes.

    Example:
        >>> metric = ClassificationMetric(("cat", "dog"))
        >>> metric.update(np.array([[0.9, 0.1], [0.6, 0.4]]), [0, 1])
        >>> metric.update(np.array([[0.2, 0.8], [0.3, 0.7]]), [1, 1])
        >>> metric.compute().top1
        0.75
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = tuple(labels)
        self._probabilities: list[np.ndarray] = []
        self._classes: list[int] = []

    def update(
        self, predictions: np.ndarray, ground_truths: Sequence[int] | np.ndarray, indices: Indices | None = None
    ) -> None:
        """Adds images.

        Args:
            predictions: float [B, C], the probability of each class.
            ground_truths: int [B], the true classes.
            indices: not used; the scores do not say which image is which.
        """
        if len(predictions):
            self._probabilities.append(np.asarray(predictions))
        self._classes += [int(label) for label in ground_truths]

    def compute(self) -> ClassificationReport:
        """Returns the scores of all images so far.

        Raises:
            InvalidInput: no images, shapes that do not fit, or a label outside the classes.
        """
        empty = np.zeros((0, len(self._labels)), np.float32)
        probabilities = np.concatenate(self._probabilities) if self._probabilities else empty
        return classification_report(probabilities, np.array(self._classes, int), self._labels)


METRIC = TaskMetric(
    create=lambda contract, dataset: ClassificationMetric(contract.labels),
    predictions=lambda outputs, geometries, contract: class_scores(outputs, contract),
    ground_truth=lambda dataset, index, contract: dataset.label(index),
)
