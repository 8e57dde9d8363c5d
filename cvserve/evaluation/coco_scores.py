"""Computes COCO's average precision of boxes or masks with pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cvserve.data.objects import Objects
from cvserve.evaluation.coco_format import coco_ground_truth, coco_results
from cvserve.extras import require
from cvserve.postproc import DetectionResult, ObjectMasks


@dataclass(frozen=True)
class CocoScores:
    """Holds the numbers that COCOeval computes.

    stats: its first six: AP, AP50, AP75 and AP by size; -1 where there is nothing to score. precision: [T thresholds,
    R recalls, K classes in the order of their numbers, A areas, M maxima of detections].
    """

    stats: tuple[float, ...]
    precision: np.ndarray

    @property
    def means(self) -> tuple[float, float, float, float | None, float | None, float | None]:
        """Returns the six numbers; where there is nothing to score, the first three are 0 and the others None."""
        known = [None if value < 0 else value for value in self.stats]
        return known[0] or 0.0, known[1] or 0.0, known[2] or 0.0, known[3], known[4], known[5]

    def of_class(self, place: int) -> tuple[float | None, float | None]:
        """Returns AP and AP50 of a class; None without objects. place: of the class in the order of the numbers."""
        every = self.precision[:, :, place, 0, -1]
        return _known_mean(every), _known_mean(every[0])


def coco_scores(
    results: Sequence[DetectionResult],
    objects: Sequence[Objects],
    classes: Sequence[str],
    image_ids: Sequence[int],
    category_ids: Sequence[int],
    masks: Sequence[ObjectMasks] | None = None,
) -> CocoScores:
    """Scores results against the true objects, image by image in the same order.

    Args:
        image_ids, category_ids: COCO's numbers of the images and classes.
        masks: of the true objects of each image; with them, masks are scored in place of boxes.

    Raises:
        MissingExtra: pycocotools is not installed.
    """
    coco, evaluation = require("pycocotools.coco"), require("pycocotools.cocoeval")
    kind: Literal["bbox", "segm"] = "bbox" if masks is None else "segm"
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        ground_truth = coco.COCO()
        ground_truth.dataset = coco_ground_truth(objects, image_ids, category_ids, classes, masks=masks)
        ground_truth.createIndex()
        result_rows = coco_results(results, image_ids, category_ids, kind=kind)
        scored = evaluation.COCOeval(
            ground_truth, ground_truth.loadRes(result_rows) if result_rows else coco.COCO(), kind
        )
        scored.params.imgIds, scored.params.catIds = sorted(image_ids), sorted(category_ids)
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    return CocoScores(tuple(float(value) for value in scored.stats[:6]), scored.eval["precision"])


def _known_mean(precision: np.ndarray) -> float | None:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else None
