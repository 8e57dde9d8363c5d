"""Computes the scores of detectors: COCO's through pycocotools, and Pascal VOC's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cvserve.artifact import DetectionPostproc
from cvserve.data.objects import Objects
from cvserve.errors import InvalidInput
from cvserve.evaluation.coco_format import coco_ground_truth, coco_results
from cvserve.evaluation.coco_scores import coco_scores
from cvserve.evaluation.matching import curves, match_image
from cvserve.evaluation.misses import ScoredImage, draw_worst, worst
from cvserve.evaluation.plots import draw_precision_recall
from cvserve.postproc import Contract, DetectionResult, ObjectMasks
from cvserve.runs import write_text

SCORING: dict[str, Any] = {"score_threshold": 0.001, "max_results": 100}
"""How results are decoded to be scored: curves need those with low scores too. COCO counts 100 results an image."""


class GroundTruth(NamedTuple):
    """Holds the true objects of an image, and their masks where masks are scored."""

    objects: Objects
    masks: ObjectMasks | None = None


@dataclass(frozen=True)
class ClassRow:
    """Holds the scores of one class; they are None if the class has no objects.

    objects: how many there are, without those that are ignored. ap: COCO's, mean over IoU 0.50:0.05:0.95. ap50: COCO's
    at IoU 0.50. voc_ap50: Pascal VOC's. mask_ap, mask_ap50: COCO's of masks, where masks are scored.
    """

    label: str
    objects: int
    ap: float | None
    ap50: float | None
    voc_ap50: float | None
    mask_ap: float | None = None
    mask_ap50: float | None = None


@dataclass(frozen=True)
class MaskScores:
    """Holds the same scores as a `DetectionReport`, from the overlap of masks instead of boxes."""

    map: float
    map50: float
    map75: float
    map_small: float | None
    map_medium: float | None
    map_large: float | None

    def headline(self) -> str:
        """Returns the scores in one line."""
        return f"mask mAP {self.map:.4f}{_by_size(self)}, mask mAP50 {self.map50:.4f}, mask mAP75 {self.map75:.4f}"


@dataclass(frozen=True)
class DetectionReport:
    """Holds the scores of a detector.

    map, map50, map75: COCO's mean over the classes, at IoU 0.50:0.05:0.95, 0.50 and 0.75; 0 without objects.
    map_small, map_medium, map_large: the first by size of the objects (areas up to 32 ** 2 pixels, up to 96 ** 2, and
    more); None where the set has no such objects. voc_map50: Pascal VOC's at IoU 0.5, all-point interpolation. masks:
    the scores of masks; None where only boxes are scored. scored: the images that were scored, in order.
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
    scored: tuple[ScoredImage, ...] = field(default=(), repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Returns the scores ready for JSON."""
        values = {name: value for name, value in vars(self).items() if name not in ("masks", "scored")}
        if self.masks is not None:
            return {**values, "classes": [vars(row) for row in self.classes], "masks": vars(self.masks)}
        rows = [
            {name: value for name, value in vars(row).items() if not name.startswith("mask_")} for row in self.classes
        ]
        return {**values, "classes": rows}

    def table(self) -> tuple[list[tuple[Any, ...]], tuple[str, ...]]:
        """Returns rows and column names: one row for each class."""
        rows = [(row.label, row.objects, row.ap, row.ap50, row.voc_ap50) for row in self.classes]
        columns = ("class", "objects", "AP", "AP50", "VOC AP50")
        if self.masks is None:
            return rows, columns
        more = [(*known, row.mask_ap, row.mask_ap50) for known, row in zip(rows, self.classes, strict=True)]
        return more, (*columns, "mask AP", "mask AP50")

    def headline(self) -> str:
        """Returns the scores in one line."""
        boxes = (
            f"mAP {self.map:.4f}{_by_size(self)}, mAP50 {self.map50:.4f}, mAP75 {self.map75:.4f}, "
            f"VOC mAP50 {self.voc_map50:.4f}"
        )
        return boxes if self.masks is None else f"{self.masks.headline()}; of boxes {boxes}"

    def write(self, directory: Path, dataset: Any, contract: Contract) -> None:
        """Writes detections.json, ground_truth.json, precision_recall.png and worst.jpg.

        The JSON files have COCO's formats and hold just the images that were scored; pycocotools computes the same mAP
        from them. With masks there is segmentations.json too. worst.jpg shows the images with the greatest loss, and
        of their results those that users would see: with at least the model's own score threshold.
        """
        labels, numbers = [row.label for row in self.classes], dataset.category_ids
        image_ids = [dataset.image_id(image.index) for image in self.scored]
        results = [image.result for image in self.scored]
        objects = [image.objects for image in self.scored]
        known = [
            {
                "file_name": dataset.name(image.index),
                "width": image.result.image_width,
                "height": image.result.image_height,
            }
            for image in self.scored
        ]
        masks = [image.masks for image in self.scored if image.masks is not None] if self.masks is not None else None
        ground_truth = coco_ground_truth(objects, image_ids, numbers, labels, known, masks)
        write_text(directory / "ground_truth.json", json.dumps(ground_truth, ensure_ascii=False))
        write_text(directory / "detections.json", json.dumps(coco_results(results, image_ids, numbers)))
        if self.masks is not None:
            found = coco_results(results, image_ids, numbers, kind="segm")
            write_text(directory / "segmentations.json", json.dumps(found))
        matches = [image.match for image in self.scored]
        draw_precision_recall(curves(matches, results, objects, labels), directory / "precision_recall.png")
        threshold = DetectionPostproc.of(contract).score_threshold
        draw_worst(worst(self.scored), dataset, threshold, directory / "worst.jpg")


def detection_report(
    results: Sequence[DetectionResult],
    objects: Sequence[Objects],
    classes: Sequence[str],
    image_ids: Sequence[int] | None = None,
    category_ids: Sequence[int] | None = None,
    masks: Sequence[ObjectMasks] | None = None,
    *,
    indices: Sequence[int] | None = None,
) -> DetectionReport:
    """Scores results against the true objects, image by image in the same order.

    Args:
        results: decoded with `SCORING`, or the curves end too early.
        objects: the true ones; those that are ignored count as crowds.
        image_ids, category_ids: COCO's numbers of the images and classes; None counts from 1. They decide nothing but
            which of two results with equal scores comes first.
        masks: of the true objects of each image; then the results' masks are scored too.
        indices: the places of the images in the data set; None counts from 0.

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
        scored=tuple(
            ScoredImage(*parts)
            for parts in zip(
                range(len(objects)) if indices is None else indices,
                results,
                objects,
                matches,
                [None] * len(objects) if masks is None else masks,
                strict=True,
            )
        ),
    )


def _by_size(scores: DetectionReport | MaskScores) -> str:
    """Returns " (small 0.1, ...)", with the sizes that the set has."""
    sizes = (("small", scores.map_small), ("medium", scores.map_medium), ("large", scores.map_large))
    return f" ({', '.join(f'{name} {value:.4f}' for name, value in sizes if value is not None)})"
