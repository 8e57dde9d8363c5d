"""Scoring detectors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from cvserve.artifact import DetectionPostproc
from cvserve.data.objects import Objects
from cvserve.data.source import DetectionSource, InstanceSource
from cvserve.evaluation.coco_format import coco_ground_truth, coco_results
from cvserve.evaluation.detection import SCORING, DetectionReport, detection_report
from cvserve.evaluation.matching import curves, match_image
from cvserve.evaluation.misses import Scored, draw_worst, worst
from cvserve.evaluation.plots import draw_precision_recall
from cvserve.postproc import Contract, DetectionResult, ObjectMasks
from cvserve.postproc.decoders.detection import decode_detection
from cvserve.preproc import Geometry
from cvserve.runs import write_text


class DetectionMetric:
    """Keeps the objects found in all images, in the coordinates of the originals.

    Writes detections.json and ground_truth.json (COCO's formats, of just what was scored), precision_recall.png and
    worst.jpg (at the model's own score threshold, as users would see it); of models with masks segmentations.json, too.

    Args:
        dataset: an `InstanceSource` for a model with masks.
    """

    def __init__(self, contract: Contract, dataset: DetectionSource) -> None:
        self._contract = contract
        self._dataset = dataset
        self._indices: list[int] = []
        self._results: list[DetectionResult] = []
        self._objects: list[Objects] = []
        self._instances = cast(InstanceSource, dataset) if contract.has_masks else None
        self._masks: list[ObjectMasks] = []

    def ground_truth(self, index: int) -> tuple[Objects, ObjectMasks | None]:
        """What is in the image, with masks for a model that has them."""
        masks = None if self._instances is None else self._instances.object_masks(index)
        return self._dataset.objects(index), masks

    def add(
        self,
        indices: Sequence[int],
        outputs: Mapping[str, np.ndarray],
        geometries: Sequence[Geometry],
        ground_truths: Sequence[tuple[Objects, ObjectMasks | None]],
    ) -> None:
        self._results += decode_detection(outputs, geometries, self._contract, **SCORING)
        self._indices += indices
        self._objects += [objects for objects, _ in ground_truths]
        self._masks += [masks for _, masks in ground_truths if masks is not None]

    def report(self) -> DetectionReport:
        return detection_report(
            self._results,
            self._objects,
            self._contract.labels,
            self._image_ids(),
            self._dataset.category_ids,
            None if self._instances is None else self._masks,
        )

    def write(self, directory: Path) -> None:
        objects, image_ids = self._objects, self._image_ids()
        images = [
            {"file_name": self._dataset.name(index), "width": result.image_width, "height": result.image_height}
            for index, result in zip(self._indices, self._results, strict=True)
        ]
        numbers, labels = self._dataset.category_ids, self._contract.labels
        masks = None if self._instances is None else self._masks
        ground_truth = coco_ground_truth(objects, image_ids, numbers, labels, images, masks)
        write_text(directory / "ground_truth.json", json.dumps(ground_truth, ensure_ascii=False))
        found = coco_results(self._results, image_ids, numbers)
        write_text(directory / "detections.json", json.dumps(found))
        if masks is not None:
            cut_out = coco_results(self._results, image_ids, numbers, kind="segm")
            write_text(directory / "segmentations.json", json.dumps(cut_out))
        matches = [match_image(result, item) for result, item in zip(self._results, objects, strict=True)]
        draw_precision_recall(curves(matches, self._results, objects, labels), directory / "precision_recall.png")
        true: Sequence[ObjectMasks | None] = masks or [None] * len(objects)
        scored = [Scored(*parts) for parts in zip(self._indices, self._results, objects, matches, true, strict=True)]
        threshold = DetectionPostproc.of(self._contract).score_threshold
        draw_worst(worst(scored), self._dataset, threshold, directory / "worst.jpg")

    def _image_ids(self) -> list[int]:
        return [self._dataset.image_id(index) for index in self._indices]
