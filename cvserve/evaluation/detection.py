"""Scores of detectors: COCO's through pycocotools, and Pascal VOC's."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cvserve.data.objects import Objects
from cvserve.errors import InvalidInput
from cvserve.evaluation.coco_format import coco_ground_truth, coco_results
from cvserve.evaluation.matching import curves, match_picture
from cvserve.extras import require
from cvserve.postproc import DetectionResult

__all__ = ["SCORING", "ClassRow", "DetectionReport", "coco_ground_truth", "coco_results", "detection_report"]

SCORING: dict[str, Any] = {"score_threshold": 0.001, "max_results": 100}
"""How results are decoded for scoring: a curve needs the unsure ones too. 100 a picture is what COCO counts."""


@dataclass(frozen=True)
class ClassRow:
    """One class. objects: how many there are, those that are ignored left out. ap: COCO's, mean over IoU 0.50:0.95.
    ap50: COCO's at 0.50. voc_ap50: Pascal VOC's. None without objects."""

    label: str
    objects: int
    ap: float | None
    ap50: float | None
    voc_ap50: float | None


@dataclass(frozen=True)
class DetectionReport:
    """map, map50, map75: COCO's mean over the classes, at IoU 0.50:0.05:0.95, 0.50 and 0.75; 0 without objects.

    map_small, map_medium, map_large: the first by size of the objects (areas up to 32 ** 2 pixels, up to 96 ** 2, and
    more); None where the set has none of them. voc_map50: Pascal VOC's at IoU 0.5, all-point interpolation.
    """

    map: float
    map50: float
    map75: float
    map_small: float | None
    map_medium: float | None
    map_large: float | None
    voc_map50: float
    images: int
    classes: tuple[ClassRow, ...]

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "classes": [vars(row) for row in self.classes]}

    def table(self) -> tuple[list[tuple[Any, ...]], tuple[str, ...]]:
        """Rows and column names: a class a row."""
        rows = [(row.label, row.objects, row.ap, row.ap50, row.voc_ap50) for row in self.classes]
        return rows, ("class", "objects", "AP", "AP50", "VOC AP50")

    def headline(self) -> str:
        """The scores in one line."""
        sizes = ", ".join(
            f"{name} {value:.4f}"
            for name, value in (("small", self.map_small), ("medium", self.map_medium), ("large", self.map_large))
            if value is not None
        )
        return (
            f"mAP {self.map:.4f} ({sizes}), mAP50 {self.map50:.4f}, mAP75 {self.map75:.4f}, "
            f"VOC mAP50 {self.voc_map50:.4f}"
        )


def detection_report(
    results: Sequence[DetectionResult],
    objects: Sequence[Objects],
    classes: Sequence[str],
    image_ids: Sequence[int] | None = None,
    category_ids: Sequence[int] | None = None,
) -> DetectionReport:
    """Scores results against the truth, picture by picture in the same order.

    Args:
        results: decoded with `SCORING`, or the curves end early.
        objects: those that are ignored count as crowds.
        image_ids, category_ids: COCO's numbers of the pictures and classes; None counts from 1. They change nothing.

    Raises:
        InvalidInput: no pictures, numbers that are not unique, or lengths that do not fit.
        MissingExtra: pycocotools is not installed.
    """
    image_ids = list(range(1, len(objects) + 1)) if image_ids is None else list(image_ids)
    category_ids = list(range(1, len(classes) + 1)) if category_ids is None else list(category_ids)
    if not objects:
        raise InvalidInput("there are no pictures to score")
    if not len(results) == len(objects) == len(set(image_ids)) == len(image_ids):
        raise InvalidInput(
            f"{len(results)} results do not fit {len(objects)} pictures with {len(set(image_ids))} different numbers"
        )
    if not len(classes) == len(set(category_ids)) == len(category_ids):
        raise InvalidInput(f"{len(set(category_ids))} different numbers do not fit {len(classes)} classes")
    stats, precision = _coco(results, objects, classes, image_ids, category_ids)
    matches = [match_picture(result, item) for result, item in zip(results, objects, strict=True)]
    by_class = curves(matches, results, objects, classes)
    # COCO's arrays have the classes in the order of their numbers.
    place = np.argsort(np.argsort(category_ids))
    rows = [
        ClassRow(
            curve.label,
            curve.objects,
            _known_mean(precision[:, :, place[index], 0, -1]),
            _known_mean(precision[0, :, place[index], 0, -1]),
            curve.average_precision,
        )
        for index, curve in enumerate(by_class)
    ]
    voc = [row.voc_ap50 for row in rows if row.voc_ap50 is not None]
    known = [None if value < 0 else value for value in stats]
    return DetectionReport(
        map=known[0] or 0.0,
        map50=known[1] or 0.0,
        map75=known[2] or 0.0,
        map_small=known[3],
        map_medium=known[4],
        map_large=known[5],
        voc_map50=float(np.mean(voc)) if voc else 0.0,
        images=len(objects),
        classes=tuple(rows),
    )


def _coco(
    results: Sequence[DetectionResult],
    objects: Sequence[Objects],
    classes: Sequence[str],
    image_ids: Sequence[int],
    category_ids: Sequence[int],
) -> tuple[list[float], np.ndarray]:
    """COCOeval's first six numbers, -1 where there is nothing to score, and its precision
    [T thresholds, R recalls, K classes, A areas, M maxima of detections]."""
    coco, evaluation = require("pycocotools.coco"), require("pycocotools.cocoeval")
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth = coco.COCO()
        truth.dataset = coco_ground_truth(objects, image_ids, category_ids, classes)
        truth.createIndex()
        found = coco_results(results, image_ids, category_ids)
        scored = evaluation.COCOeval(truth, truth.loadRes(found) if found else coco.COCO(), "bbox")
        scored.params.imgIds, scored.params.catIds = sorted(image_ids), sorted(category_ids)
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    return [float(value) for value in scored.stats[:6]], scored.eval["precision"]


def _known_mean(precision: np.ndarray) -> float | None:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else None
