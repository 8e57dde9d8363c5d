"""Computes the scores of a classifier from its probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cvserve.errors import InvalidInput
from cvserve.evaluation.plots import draw_confusion
from cvserve.postproc import Contract

_SMALLEST_PROBABILITY = 1e-12


@dataclass(frozen=True)
class ClassScores:
    """Holds the scores of one class, and how many images it has."""

    label: str
    images: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class ClassificationReport:
    """Holds the scores of a classifier.

    top1, top5: the fraction of images whose true class is predicted first, or among the first five (all classes, if
    there are fewer). loss: mean negative log-likelihood, in nats. confusion: int64 [C, C], true class by row, predicted
    by column.
    """

    images: int
    top1: float
    top5: float
    loss: float
    classes: tuple[ClassScores, ...]
    confusion: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """Returns the scores ready for JSON."""
        return {
            "images": self.images,
            "top1": self.top1,
            "top5": self.top5,
            "loss": self.loss,
            "classes": [vars(item) for item in self.classes],
            "confusion": self.confusion.tolist(),
        }

    def table(self) -> tuple[list[tuple[Any, ...]], tuple[str, ...]]:
        """Returns rows and column names: one row for each class."""
        rows = [(item.label, item.images, item.precision, item.recall, item.f1) for item in self.classes]
        return rows, ("class", "images", "precision", "recall", "f1")

    def headline(self) -> str:
        """Returns the scores in one line."""
        return f"top-1 {self.top1:.4f}, top-5 {self.top5:.4f}, loss {self.loss:.4f}"

    def write(self, directory: Path, dataset: Any, contract: Contract) -> None:
        """Writes confusion.png."""
        draw_confusion(self.confusion, [item.label for item in self.classes], directory / "confusion.png")


def classification_report(probabilities: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> ClassificationReport:
    """Scores predicted probabilities against the true classes.

    Args:
        probabilities: float [N, C]. labels: int [N], the true classes. names: the C labels.

    Of equal probabilities the lower index counts as the better one, as in the results that users see. Precision and
    recall of a class without predictions or images are 0.

    Raises:
        InvalidInput: shapes that do not fit, no images, or a label outside the classes.

    Example:
        >>> report = classification_report(np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([0, 1]), ("cat", "dog"))
        >>> report.top1, report.classes[0].recall
        (0.5, 1.0)
    """
    probabilities, labels = np.asarray(probabilities, np.float64), np.asarray(labels, np.int64)
    count = len(names)
    if probabilities.ndim != 2 or probabilities.shape != (len(labels), count):
        raise InvalidInput(f"probabilities {probabilities.shape} do not fit {len(labels)} labels of {count} classes")
    if not len(labels):
        raise InvalidInput("there are no images to score")
    if labels.min() < 0 or labels.max() >= count:
        raise InvalidInput(f"a label is outside 0..{count - 1}")
    own = probabilities[np.arange(len(labels)), labels]
    # Rank = how many classes are better than the true one, ties in index order.
    better = (probabilities > own[:, None]).sum(axis=1)
    tied = ((probabilities == own[:, None]) & (np.arange(count) < labels[:, None])).sum(axis=1)
    rank = better + tied
    confusion = np.zeros((count, count), np.int64)
    np.add.at(confusion, (labels, probabilities.argmax(axis=1)), 1)
    return ClassificationReport(
        images=len(labels),
        top1=float((rank < 1).mean()),
        top5=float((rank < 5).mean()),
        loss=float(-np.log(np.maximum(own, _SMALLEST_PROBABILITY)).mean()),
        classes=tuple(_class_scores(confusion, names)),
        confusion=confusion,
    )


def _class_scores(confusion: np.ndarray, names: Sequence[str]) -> list[ClassScores]:
    rows = []
    for index, name in enumerate(names):
        hits = int(confusion[index, index])
        predicted, actual = int(confusion[:, index].sum()), int(confusion[index].sum())
        precision = hits / predicted if predicted else 0.0
        recall = hits / actual if actual else 0.0
        f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
        rows.append(ClassScores(name, actual, precision, recall, f1))
    return rows
