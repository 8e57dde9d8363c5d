"""Scores networks for semantic segmentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cvserve.evaluation.segmentation import SegmentationReport, confusion_matrix, segmentation_report
from cvserve.evaluation.task_metric import Indices, Predict, TaskMetric, numbered
from cvserve.evaluation.worst_masks import WorstMasks
from cvserve.postproc import Contract, SegmentationResult, decode_outputs
from cvserve.preproc import Geometry
from cvserve.runs import Run

if TYPE_CHECKING:
    import keras


class SegmentationMetric:
    """Counts the pixels of each class that were taken for which, and computes IoU and accuracies from the counts.

    It keeps the counts and the images with the lowest mIoU, so that its memory does not grow with the data set.

    Args:
        labels: the names of the C classes.

    Example:
        >>> metric = SegmentationMetric(("sky", "road"))
        >>> metric.update([np.array([[0, 0, 1, 1]])], [np.array([[0, 0, 0, 1]])])
        >>> report = metric.compute()
        >>> report.pixel_accuracy, report.images
        (0.75, 1)
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = tuple(labels)
        self._confusion = np.zeros((len(self._labels),) * 2, np.int64)
        self._images = 0
        self._worst = WorstMasks()

    def update(
        self,
        predictions: Sequence[np.ndarray] | np.ndarray,
        ground_truths: Sequence[np.ndarray] | np.ndarray,
        indices: Indices | None = None,
    ) -> None:
        """Adds images.

        Args:
            predictions: the class map of each image, integers [H, W] from 0 to C - 1.
            ground_truths: the label map of each image, of the same size, with `VOID` (255) for pixels not to count.
            indices: the places of the images in the data set, see `Metric.update`.

        Raises:
            InvalidInput: shapes that differ, or a value that is no class.
        """
        places = numbered(indices, self._images, len(predictions))
        for index, class_map, labels in zip(places, predictions, ground_truths, strict=True):
            confusion = confusion_matrix(labels, class_map, self._labels)
            self._confusion += confusion
            self._images += 1
            if confusion.any():
                self._worst.add(index, segmentation_report(confusion, self._labels), class_map)

    def compute(self) -> SegmentationReport:
        """Returns the scores of all images so far.

        Raises:
            InvalidInput: there is no labelled pixel.
        """
        report = segmentation_report(self._confusion.copy(), self._labels, self._images)
        return replace(report, worst=tuple(self._worst.images))


def _class_maps(
    outputs: Mapping[str, np.ndarray], geometries: Sequence[Geometry], contract: Contract
) -> list[np.ndarray]:
    """Returns class maps in the size of the original images, in which published tables count."""
    results = decode_outputs(outputs, geometries, contract)
    return [result.class_map for result in results if isinstance(result, SegmentationResult)]


def _averaged(run: Run, network: keras.Model, views: str) -> tuple[str, Predict]:
    from cvserve.evaluation.averaging import Views, averaged

    parsed = Views.parse(views)
    return str(parsed), averaged(run, network, parsed)


METRIC = TaskMetric(
    create=lambda contract, dataset: SegmentationMetric(contract.labels),
    predictions=_class_maps,
    ground_truth=lambda dataset, index, contract: dataset.mask(index),
    averaged=_averaged,
)
