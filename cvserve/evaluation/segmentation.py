"""Computes the scores of semantic segmentation from a confusion matrix of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cvserve.artifact import SegmentationPostproc
from cvserve.data.masks import VOID
from cvserve.errors import InvalidInput
from cvserve.evaluation.plots import draw_confusion
from cvserve.evaluation.worst_masks import ScoredMask, draw_worst_masks
from cvserve.postproc import Contract
from cvserve.postproc.drawing.colors import color_of


@dataclass(frozen=True)
class ClassRow:
    """Holds the scores of one class.

    pixels: how many pixels are truly of the class. share: their fraction of all labelled pixels, 0 to 1. iou: right
    pixels / (pixels of the class in the ground truth, in the predictions, or in both); None where there are none.
    accuracy: the fraction of its pixels that are right; None without pixels.
    """

    label: str
    pixels: int
    share: float
    iou: float | None
    accuracy: float | None


@dataclass(frozen=True)
class SegmentationReport:
    """Holds the scores over all pixels of a set, each from 0 to 1; pixels without a label (void) do not count.

    miou: the mean of the classes' IoU. A class that is neither in the ground truth nor in the predictions is left out
    of the mean; one that is only in predictions counts with 0. pixel_accuracy: the fraction of pixels that are right.
    mean_accuracy: the mean of the classes' accuracies, those without pixels left out. frequency_weighted_iou: the mean
    of IoU, each class weighted by its fraction of the pixels. (The four of Long et al. 2015, arXiv 1411.4038, section
    5.)

    confusion: int64 [C, C] pixels, true class by row, predicted by column. images: how many images were counted, 0
    where that is not known. worst: the images with the lowest mIoU, the lowest first, where a metric has kept them.
    """

    miou: float
    pixel_accuracy: float
    mean_accuracy: float
    frequency_weighted_iou: float
    images: int
    classes: tuple[ClassRow, ...]
    confusion: np.ndarray
    worst: tuple[ScoredMask, ...] = field(default=(), repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Returns the scores ready for JSON."""
        return {
            "images": self.images,
            "miou": self.miou,
            "pixel_accuracy": self.pixel_accuracy,
            "mean_accuracy": self.mean_accuracy,
            "frequency_weighted_iou": self.frequency_weighted_iou,
            "classes": [vars(row) for row in self.classes],
            "confusion": self.confusion.tolist(),
        }

    def table(self) -> tuple[list[tuple[Any, ...]], tuple[str, ...]]:
        """Returns rows and column names: one row for each class."""
        rows = [(row.label, row.pixels, row.share, row.iou, row.accuracy) for row in self.classes]
        return rows, ("class", "pixels", "share", "IoU", "accuracy")

    def headline(self) -> str:
        """Returns the scores in one line."""
        return (
            f"mIoU {self.miou:.4f}, pixel accuracy {self.pixel_accuracy:.4f}, mean class accuracy "
            f"{self.mean_accuracy:.4f}, frequency-weighted IoU {self.frequency_weighted_iou:.4f}"
        )

    def write(self, directory: Path, dataset: Any, contract: Contract) -> None:
        """Writes confusion.png and worst.jpg: the images with the lowest mIoU, with labels, predictions and errors."""
        names = [row.label for row in self.classes]
        draw_confusion(self.confusion, names, directory / "confusion.png", percent=True)
        colors = SegmentationPostproc.of(contract).colors or dataset.colors
        colors = colors or tuple(color_of(label) for label in range(len(names)))
        draw_worst_masks(self.worst, dataset, names, colors, directory / "worst.jpg")


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, classes: int | Sequence[str]) -> np.ndarray:
    """Counts how many pixels of each class were predicted as which class.

    Args:
        labels: integers of any shape, 0 to C - 1, or `VOID` (255) for pixels that do not count.
        predictions: integers of the same shape, 0 to C - 1.
        classes: C, or the names of the classes.

    Returns:
        int64 [C, C], true class by row, predicted by column. Matrices of several images can be added.

    Raises:
        InvalidInput: shapes that differ, or a value that is no class.

    Example:
        >>> confusion_matrix(np.array([0, 0, 1, 255]), np.array([0, 1, 1, 1]), ("sky", "road"))
        array([[1, 1],
               [0, 1]])
    """
    count = classes if isinstance(classes, int) else len(classes)
    if not 1 <= count <= VOID:
        raise InvalidInput(f"there can be from 1 to {VOID} classes, not {count}")
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.shape != predictions.shape:
        raise InvalidInput(f"predictions {list(predictions.shape)} do not fit labels {list(labels.shape)}")
    counted = labels != VOID
    labels, predictions = labels[counted], predictions[counted]
    for what, values in (("label", labels), ("prediction", predictions)):
        if values.size and not 0 <= values.min() <= values.max() < count:
            wrong = values.max() if values.min() >= 0 else values.min()
            raise InvalidInput(f"there is a {what} {wrong}, but there are {count} classes")
    # Indices of the matrix laid out flat: 16 bits are enough for 255 classes, and half as much to write.
    pairs = labels.astype(np.uint16) * np.uint16(count) + predictions.astype(np.uint16)
    return np.bincount(pairs, minlength=count * count).reshape(count, count).astype(np.int64)


def segmentation_report(confusion: np.ndarray, classes: Sequence[str], images: int = 0) -> SegmentationReport:
    """Computes the scores from the counts of `confusion_matrix`.

    Args:
        confusion: int [C, C]. classes: the C names. images: how many images were counted.

    Raises:
        InvalidInput: a matrix that does not fit the classes, or that has no pixels.
    """
    confusion = np.asarray(confusion, np.int64)
    if confusion.shape != (len(classes), len(classes)):
        raise InvalidInput(f"a matrix {list(confusion.shape)} does not fit {len(classes)} classes")
    actual, predicted, right = confusion.sum(axis=1), confusion.sum(axis=0), confusion.diagonal()
    total = int(actual.sum())
    if not total:
        raise InvalidInput("there are no labelled pixels to score")
    iou, accuracy = _ratio(right, actual + predicted - right), _ratio(right, actual)
    share = actual / total
    rows = [
        ClassRow(name, int(actual[label]), float(share[label]), _known(iou[label]), _known(accuracy[label]))
        for label, name in enumerate(classes)
    ]
    return SegmentationReport(
        miou=float(np.nanmean(iou)),
        pixel_accuracy=float(right.sum() / total),
        mean_accuracy=float(np.nanmean(accuracy)),
        frequency_weighted_iou=float(np.nansum(share * iou)),
        images=images,
        classes=tuple(rows),
        confusion=confusion,
    )


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Returns part / whole, float64 [C]; nan where the whole is 0."""
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
