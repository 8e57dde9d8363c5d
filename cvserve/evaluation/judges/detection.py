"""Scoring detectors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cvserve.data.objects import DetectionSource, Objects
from cvserve.evaluation.coco_format import coco_ground_truth, coco_results
from cvserve.evaluation.detection import SCORING, DetectionReport, detection_report
from cvserve.evaluation.matching import curves, match_picture
from cvserve.evaluation.misses import Scored, draw_worst, worst
from cvserve.evaluation.plots import draw_precision_recall
from cvserve.postproc import Contract, DetectionResult
from cvserve.postproc.detection import decode_detection
from cvserve.preproc import Geometry
from cvserve.runs import write_text


class DetectionJudge:
    """Keeps the objects found in all pictures, in the coordinates of the originals.

    Writes detections.json and ground_truth.json (COCO's formats, of just what was scored), precision_recall.png and
    worst.jpg (at the model's own score threshold, as users would see it).
    """

    def __init__(self, contract: Contract, dataset: DetectionSource) -> None:
        self._contract = contract
        self._dataset = dataset
        self._indices: list[int] = []
        self._results: list[DetectionResult] = []
        self._objects: list[Objects] = []

    def truth(self, index: int) -> Objects:
        """What is in the picture."""
        return self._dataset.objects(index)

    def add(
        self,
        indices: Sequence[int],
        outputs: Mapping[str, np.ndarray],
        geometries: Sequence[Geometry],
        truths: Sequence[Objects],
    ) -> None:
        self._results += decode_detection(outputs, geometries, self._contract, **SCORING)
        self._indices += indices
        self._objects += truths

    def report(self) -> DetectionReport:
        return detection_report(
            self._results, self._objects, self._contract.labels, self._image_ids(), self._dataset.category_ids
        )

    def write(self, directory: Path) -> None:
        objects, image_ids = self._objects, self._image_ids()
        pictures = [
            {"file_name": self._dataset.name(index), "width": result.image_width, "height": result.image_height}
            for index, result in zip(self._indices, self._results, strict=True)
        ]
        numbers, labels = self._dataset.category_ids, self._contract.labels
        truth = coco_ground_truth(objects, image_ids, numbers, labels, pictures)
        write_text(directory / "ground_truth.json", json.dumps(truth, ensure_ascii=False))
        found = coco_results(self._results, image_ids, numbers)
        write_text(directory / "detections.json", json.dumps(found))
        matches = [match_picture(result, item) for result, item in zip(self._results, objects, strict=True)]
        draw_precision_recall(curves(matches, self._results, objects, labels), directory / "precision_recall.png")
        scored = [Scored(*parts) for parts in zip(self._indices, self._results, objects, matches, strict=True)]
        draw_worst(worst(scored), self._dataset, self._contract.postproc.score_threshold, directory / "worst.jpg")

    def _image_ids(self) -> list[int]:
        return [self._dataset.image_id(index) for index in self._indices]
