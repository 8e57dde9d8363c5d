"""Scoring captioners."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cvserve.data.source import CaptionSource
from cvserve.evaluation.captions import CaptionReport, caption_report
from cvserve.evaluation.captions.page import Told, draw_page
from cvserve.evaluation.coco_format import coco_caption_ground_truth, coco_caption_results
from cvserve.postproc import CaptionResult, Contract
from cvserve.postproc.decoders.captioning import decode_captioning
from cvserve.preproc import Geometry
from cvserve.runs import write_text


class CaptionMetric:
    """Keeps the sentences of all images, and scores the best of each.

    Writes captions.json and ground_truth.json (COCO's formats, of just what was scored, from which pycocoevalcap
    computes the same scores) and captions.jpg: the worst and the best with their images.
    """

    def __init__(self, contract: Contract, dataset: CaptionSource) -> None:
        self._contract = contract
        self._dataset = dataset
        self._indices: list[int] = []
        self._references: list[tuple[str, ...]] = []
        self._results: list[CaptionResult] = []
        self._report: CaptionReport | None = None

    def ground_truth(self, index: int) -> tuple[str, ...]:
        """The captions of the image."""
        return self._dataset.captions(index)

    def add(
        self,
        indices: Sequence[int],
        outputs: Mapping[str, np.ndarray],
        geometries: Sequence[Geometry],
        ground_truths: Sequence[tuple[str, ...]],
    ) -> None:
        self._results += decode_captioning(outputs, self._contract, max_results=1)
        self._indices += indices
        self._references += ground_truths

    def report(self) -> CaptionReport:
        self._report = caption_report([item.best.text for item in self._results], self._references)
        return self._report

    def write(self, directory: Path) -> None:
        assert self._report is not None, "report() is called first"
        texts, references = [item.best.text for item in self._results], self._references
        image_ids = [self._dataset.image_id(index) for index in self._indices]
        names = [self._dataset.name(index) for index in self._indices]
        found = coco_caption_results(texts, image_ids)
        write_text(directory / "captions.json", json.dumps(found, ensure_ascii=False))
        ground_truth = coco_caption_ground_truth(references, image_ids, names)
        write_text(directory / "ground_truth.json", json.dumps(ground_truth, ensure_ascii=False))
        parts = zip(self._indices, texts, references, self._report.each, strict=True)
        draw_page([Told(*part) for part in parts], self._dataset, directory / "captions.jpg")
