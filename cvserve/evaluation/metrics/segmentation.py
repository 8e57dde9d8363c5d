"""Scoring segmentation networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from cvserve.artifact import SegmentationPostproc
from cvserve.data.source import SegmentationSource
from cvserve.evaluation.plots import draw_confusion
from cvserve.evaluation.segmentation import SegmentationReport, confusion_matrix, segmentation_report
from cvserve.evaluation.worst_masks import WorstMasks, draw_worst_masks
from cvserve.postproc import Contract, SegmentationResult, decode_outputs
from cvserve.postproc.drawing.colors import color_of
from cvserve.preproc import Geometry


class SegmentationMetric:
    """Counts pixels at the size of the original images and masks, as published tables do; keeps no masks.

    Writes confusion.png and worst.jpg: of the images with the least mIoU, image, truth, answer and errors.
    """

    def __init__(self, contract: Contract, dataset: SegmentationSource) -> None:
        self._contract = contract
        self._dataset = dataset
        self._confusion = np.zeros((len(contract.labels),) * 2, np.int64)
        self._images = 0
        self._worst = WorstMasks()

    def ground_truth(self, index: int) -> np.ndarray:
        """The label map of the original."""
        return self._dataset.mask(index)

    def add(
        self,
        indices: Sequence[int],
        outputs: Mapping[str, np.ndarray],
        geometries: Sequence[Geometry],
        ground_truths: Sequence[np.ndarray],
    ) -> None:
        results = cast(list[SegmentationResult], decode_outputs(outputs, geometries, self._contract))
        for index, result, labels in zip(indices, results, ground_truths, strict=True):
            confusion = confusion_matrix(labels, result.class_map, self._contract.labels)
            self._confusion += confusion
            self._images += 1
            if confusion.any():
                self._worst.add(index, segmentation_report(confusion, self._contract.labels), result.class_map)

    def report(self) -> SegmentationReport:
        return segmentation_report(self._confusion, self._contract.labels, self._images)

    def write(self, directory: Path) -> None:
        names = self._contract.labels
        draw_confusion(self._confusion, names, directory / "confusion.png", percent=True)
        colors = SegmentationPostproc.of(self._contract).colors or self._dataset.colors
        colors = colors or tuple(color_of(label) for label in range(len(names)))
        draw_worst_masks(self._worst.images, self._dataset, names, colors, directory / "worst.jpg")
