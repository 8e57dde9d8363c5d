"""Scores of detectors: COCO's through pycocotools, and Pascal VOC's."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cvserve.data.objects import Objects
from cvserve.extras import require
from cvserve.postproc import DetectionResult

SCORING: dict[str, Any] = {"score_threshold": 0.001, "max_results": 100}
"""How results are decoded for scoring: a curve needs the unsure ones too. 100 a picture is what COCO counts."""


@dataclass(frozen=True)
class ClassRow:
    """One class. objects: how many there are. ap: mean over IoU 0.50:0.95, ap50: at 0.50; None without objects."""

    label: str
    objects: int
    ap: float | None
    ap50: float | None


@dataclass(frozen=True)
class DetectionReport:
    """map: COCO's, mean over IoU 0.50:0.05:0.95 and classes. By size (areas up to 32 ** 2, up to 96 ** 2, and more):
    None where the set has no such objects. voc_map50: the area under the interpolated curve at IoU over 0.5."""

    map: float
    map50: float
    map75: float
    map_small: float | None
    map_medium: float | None
    map_large: float | None
    images: int
    classes: tuple[ClassRow, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "map": self.map,
            "map50": self.map50,
            "map75": self.map75,
            "map_small": self.map_small,
            "map_medium": self.map_medium,
            "map_large": self.map_large,
            "images": self.images,
            "classes": [vars(row) for row in self.classes],
        }


def coco_results(
    results: Sequence[DetectionResult], image_ids: Sequence[int], category_ids: Sequence[int]
) -> list[dict[str, Any]]:
    """COCO's results format: [{"image_id", "category_id", "bbox": [x, y, width, height], "score"}, ...]."""
    return [
        {
            "image_id": image_id,
            "category_id": category_ids[item.index],
            "bbox": [item.box[0], item.box[1], item.box[2] - item.box[0], item.box[3] - item.box[1]],
            "score": item.score,
        }
        for result, image_id in zip(results, image_ids, strict=True)
        for item in result
    ]


def coco_ground_truth(
    objects: Sequence[Objects], image_ids: Sequence[int], category_ids: Sequence[int], classes: Sequence[str]
) -> dict[str, Any]:
    """COCO's instances format, for pycocotools; what is ignored is a crowd."""
    annotations = [
        {
            "image_id": image_id,
            "category_id": category_ids[label],
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
            "area": area,
            "iscrowd": int(ignored),
        }
        for item, image_id in zip(objects, image_ids, strict=True)
        for box, label, ignored, area in zip(
            item.boxes.tolist(), item.labels.tolist(), item.ignored.tolist(), item.areas.tolist(), strict=True
        )
    ]
    return {
        "info": {},
        "images": [{"id": image_id} for image_id in image_ids],
        "categories": [{"id": number, "name": name} for number, name in zip(category_ids, classes, strict=True)],
        "annotations": [{"id": number, **item} for number, item in enumerate(annotations, start=1)],
    }


def detection_report(
    results: Sequence[DetectionResult],
    objects: Sequence[Objects],
    classes: Sequence[str],
    image_ids: Sequence[int] | None = None,
    category_ids: Sequence[int] | None = None,
) -> DetectionReport:
    """Scores results against the truth, picture by picture in the same order.

    Raises:
        MissingExtra: pycocotools is not installed.
    """
    coco, evaluation = require("pycocotools.coco"), require("pycocotools.cocoeval")
    image_ids = list(image_ids or range(1, len(objects) + 1))
    category_ids = list(category_ids or range(1, len(classes) + 1))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO()
        truth.dataset = coco_ground_truth(objects, image_ids, category_ids, classes)
        truth.createIndex()
        found = coco_results(results, image_ids, category_ids)
        scored = evaluation.COCOeval(truth, truth.loadRes(found) if found else coco.COCO(), "bbox")
        scored.params.imgIds, scored.params.catIds = sorted(image_ids), list(category_ids)
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    # precision [T thresholds, R recalls, K classes, A areas, M maxima of detections]
    precision = scored.eval["precision"]
    counts = np.bincount(
        np.concatenate([item.labels[~item.ignored] for item in objects] or [np.zeros(0, int)]), minlength=len(classes)
    )
    rows = []
    for index, label in enumerate(classes):
        all_sizes = precision[:, :, index, 0, -1]
        rows.append(
            ClassRow(
                label,
                int(counts[index]),
                _mean(all_sizes),
                _mean(all_sizes[0]),
            )
        )
    stats = [float(value) for value in scored.stats[:6]]
    known = [None if value < 0 else value for value in stats]
    return DetectionReport(
        max(stats[0], 0.0),
        max(stats[1], 0.0),
        max(stats[2], 0.0),
        known[3],
        known[4],
        known[5],
        len(objects),
        tuple(rows),
    )


def _mean(precision: np.ndarray) -> float | None:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else None
