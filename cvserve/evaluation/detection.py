"""Scores of detectors: COCO's through pycocotools, and Pascal VOC's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cvserve.data.objects import Objects
from cvserve.errors import InvalidInput
from cvserve.evaluation.coco_format import coco_ground_truth, coco_results
from cvserve.evaluation.coco_scores import coco_scores
from cvserve.evaluation.matching import curves, match_image
from cvserve.postproc import DetectionResult, ObjectMasks

__all__ = ["SCORING", "ClassRow", "DetectionReport", "coco_ground_truth", "coco_results", "detection_report"]

SCORING: dict[str, Any] = {"score_threshold": 0.001, "max_results": 100}
"""How results are decoded for scoring: a curve needs the unsure ones too. 100 an image is what COCO counts."""


@dataclass(frozen=True)
class ClassRow:
    """One class. objects: how many there are, those that are ignored left out. ap: COCO's, mean over IoU 0.50:0.95.
    ap50: COCO's at 0.50. voc_ap50: Pascal VOC's. mask_ap, mask_ap50: COCO's of masks, where there are some. None
    without objects."""

    label: str
    objects: int
    ap: float | None
    ap50: float | None
    voc_ap50: float | None
    mask_ap: float | None = None
    mask_ap50: float | None = None


@dataclass(frozen=True)
class MaskScores:
    """As those of a `DetectionReport`, by how much masks overlap, not boxes."""

    map: float
    map50: float
    map75: float
    map_small: float | None
    map_medium: float | None
    map_large: float | None

    def headline(self) -> str:
        """The scores in one line."""
        return f"mask mAP {self.map:.4f}{_by_size(self)}, mask mAP50 {self.map50:.4f}, mask mAP75 {self.map75:.4f}"


@dataclass(frozen=True)
class DetectionReport:
    """map, map50, map75: COCO's mean over the classes, at IoU 0.50:0.05:0.95, 0.50 and 0.75; 0 without objects.

    map_small, map_medium, map_large: the first by size of the objects (areas up to 32 ** 2 pixels, up to 96 ** 2, and
    more); None where the set has none of them. voc_map50: Pascal VOC's at IoU 0.5, all-point interpolation. masks: None
    of boxes alone.
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
    masks: MaskScores | None = None

    def to_dict(self) -> dict[str, Any]:
        if self.masks is not None:
            return {**vars(self), "classes": [vars(row) for row in self.classes], "masks": vars(self.masks)}
        values = {name: value for name, value in vars(self).items() if name != "masks"}
        rows = [
            {name: value for name, value in vars(row).items() if not name.startswith("mask_")} for row in self.classes
        ]
        return {**values, "classes": rows}

    def table(self) -> tuple[list[tuple[Any, ...]], tuple[str, ...]]:
        """Rows and column names: a class a row."""
        rows = [(row.label, row.objects, row.ap, row.ap50, row.voc_ap50) for row in self.classes]
        columns = ("class", "objects", "AP", "AP50", "VOC AP50")
        if self.masks is None:
            return rows, columns
        more = [(*known, row.mask_ap, row.mask_ap50) for known, row in zip(rows, self.classes, strict=True)]
        return more, (*columns, "mask AP", "mask AP50")

    def headline(self) -> str:
        """The scores in one line."""
        boxes = (
            f"mAP {self.map:.4f}{_by_size(self)}, mAP50 {self.map50:.4f}, mAP75 {self.map75:.4f}, "
            f"VOC mAP50 {self.voc_map50:.4f}"
        )
        return boxes if self.masks is None else f"{self.masks.headline()}; of boxes {boxes}"


def detection_report(
    results: Sequence[DetectionResult],
    objects: Sequence[Objects],
    classes: Sequence[str],
    image_ids: Sequence[int] | None = None,
    category_ids: Sequence[int] | None = None,
    masks: Sequence[ObjectMasks] | None = None,
) -> DetectionReport:
    """Scores results against the truth, image by image in the same order.

    Args:
        results: decoded with `SCORING`, or the curves end early.
        objects: those that are ignored count as crowds.
        image_ids, category_ids: COCO's numbers of the images and classes; None counts from 1. They change nothing.
        masks: of the objects of each image; then the results' masks are scored, too.

    Raises:
        InvalidInput: no images, numbers that are not unique, or lengths that do not fit.
        MissingExtra: pycocotools is not installed.
    """
    image_ids = list(range(1, len(objects) + 1)) if image_ids is None else list(image_ids)
    category_ids = list(range(1, len(classes) + 1)) if category_ids is None else list(category_ids)
    if not objects:
        raise InvalidInput("there are no images to score")
    if not len(results) == len(objects) == len(set(image_ids)) == len(image_ids):
        raise InvalidInput(
            f"{len(results)} results do not fit {len(objects)} images with {len(set(image_ids))} different numbers"
        )
    if not len(classes) == len(set(category_ids)) == len(category_ids):
        raise InvalidInput(f"{len(set(category_ids))} different numbers do not fit {len(classes)} classes")
    scored = coco_scores(results, objects, classes, image_ids, category_ids)
    of_masks = None if masks is None else coco_scores(results, objects, classes, image_ids, category_ids, masks)
    matches = [match_image(result, item) for result, item in zip(results, objects, strict=True)]
    by_class = curves(matches, results, objects, classes)
    # COCO's arrays have the classes in the order of their numbers.
    place = np.argsort(np.argsort(category_ids))
    rows = [
        ClassRow(
            curve.label,
            curve.objects,
            *scored.of_class(int(place[index])),
            curve.average_precision,
            *(() if of_masks is None else of_masks.of_class(int(place[index]))),
        )
        for index, curve in enumerate(by_class)
    ]
    voc = [row.voc_ap50 for row in rows if row.voc_ap50 is not None]
    return DetectionReport(
        *scored.means,
        voc_map50=float(np.mean(voc)) if voc else 0.0,
        images=len(objects),
        classes=tuple(rows),
        masks=None if of_masks is None else MaskScores(*of_masks.means),
    )


def _by_size(scores: DetectionReport | MaskScores) -> str:
    """ " (small 0.1, ...)" of the sizes that there are."""
    sizes = (("small", scores.map_small), ("medium", scores.map_medium), ("large", scores.map_large))
    return f" ({', '.join(f'{name} {value:.4f}' for name, value in sizes if value is not None)})"
