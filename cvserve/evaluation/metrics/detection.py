"""Scores detectors, with masks or without."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cvserve.evaluation.detection import SCORING, DetectionReport, GroundTruth, detection_report
from cvserve.evaluation.task_metric import Indices, TaskMetric, numbered
from cvserve.postproc import Contract, DetectionResult
from cvserve.postproc.decoders.detection import decode_detection


class DetectionMetric:
    """Computes average precision as COCO and Pascal VOC do, of boxes and, where asked for, of masks.

    Args:
        labels: the names of the C classes.
        masks: whether masks are scored too; then results and ground truths have them.
        category_ids: the number of each class in COCO files; None counts from 1.
        image_id: returns the number of an image in COCO files, given its place in the data set; None adds 1.

    Example:
        >>> import numpy as np
        >>> from cvserve.data import Objects
        >>> box = np.array([[10.0, 10.0, 50.0, 40.0]], np.float32)
        >>> found = DetectionResult(box, np.array([0.9], np.float32), np.array([0], np.int32), ("dog",), 64, 48)
        >>> metric = DetectionMetric(("dog",))
        >>> metric.update([found], [GroundTruth(Objects.of(box, [0]))])
        >>> round(metric.compute().map, 3)
        1.0
    """

    def __init__(
        self,
        labels: Sequence[str],
        *,
        masks: bool = False,
        category_ids: Sequence[int] | None = None,
        image_id: Callable[[int], int] | None = None,
    ) -> None:
        self._labels = tuple(labels)
        self._with_masks = masks
        self._category_ids = category_ids
        self._image_id = image_id or (lambda index: index + 1)
        self._images: list[tuple[int, DetectionResult, GroundTruth]] = []

    def update(
        self,
        predictions: Sequence[DetectionResult],
        ground_truths: Sequence[GroundTruth],
        indices: Indices | None = None,
    ) -> None:
        """Adds images.

        Args:
            predictions: the objects found in each image, decoded with `SCORING`, or the curves end too early.
            ground_truths: the true objects of each image, in the same pixels.
            indices: the places of the images in the data set, see `Metric.update`.
        """
        places = numbered(indices, len(self._images), len(predictions))
        self._images += zip(places, predictions, ground_truths, strict=True)

    def compute(self) -> DetectionReport:
        """Returns the scores of all images so far.

        Raises:
            InvalidInput: no images, or two with the same number. MissingExtra: pycocotools is not installed.
        """
        # Of equal scores, those of the earlier image count first.
        images = sorted(self._images, key=lambda image: image[0])
        masks = [ground_truth.masks for _, _, ground_truth in images if ground_truth.masks is not None]
        return detection_report(
            [result for _, result, _ in images],
            [ground_truth.objects for _, _, ground_truth in images],
            self._labels,
            [self._image_id(index) for index, _, _ in images],
            self._category_ids,
            masks if self._with_masks else None,
            indices=[index for index, _, _ in images],
        )


def _create(contract: Contract, dataset: Any) -> DetectionMetric:
    return DetectionMetric(
        contract.labels,
        masks=contract.has_masks,
        category_ids=dataset.category_ids,
        image_id=dataset.image_id,
    )


def _ground_truth(dataset: Any, index: int, contract: Contract) -> GroundTruth:
    return GroundTruth(dataset.objects(index), dataset.object_masks(index) if contract.has_masks else None)


METRIC = TaskMetric(
    create=_create,
    predictions=lambda outputs, geometries, contract: decode_detection(outputs, geometries, contract, **SCORING),
    ground_truth=_ground_truth,
)
