"""Defines detection in the demo: where are the shapes?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cvserve.client import Client
from cvserve.data import write_coco
from cvserve.demo.task import DemoTask, Difference
from cvserve.export.comparison.detection import Tolerance, match
from cvserve.postproc import DetectionResult, Result
from cvserve.postproc.decoders.detection import DecodedObjects

_TOLERANCE = Tolerance()
_THRESHOLD, _MOST = 0.25, 100


def _ask(client: Client, model: str, images: Sequence[Path], options: Mapping[str, Any]) -> list[Result]:
    return list(client.detect_many(model, images, **options))


def _from_row(row: Mapping[str, Any], labels: tuple[str, ...]) -> Result:
    found = row["detections"]
    return DetectionResult(
        np.array([item["box"] for item in found], np.float32).reshape(-1, 4),
        np.array([item["score"] for item in found], np.float32),
        np.array([item["index"] for item in found], np.int32),
        labels,
        row["width"],
        row["height"],
    )


def _compare(results: Sequence[Result], wanted: Sequence[Result]) -> Difference:
    """Compares the scores of matched objects; results agree where each object has a partner in the other result."""
    largest, same = 0.0, True
    for answer, expected in zip(results, wanted, strict=True):
        assert isinstance(answer, DetectionResult)
        assert isinstance(expected, DetectionResult)
        first, second = (DecodedObjects(result.boxes, result.scores, result.indexes) for result in (answer, expected))
        matched = match(first, second, _TOLERANCE, _THRESHOLD, _MOST)
        largest = max(largest, float(matched.scores.max(initial=0.0)))
        same = same and not matched.unmatched
    return Difference(largest, same)


DEMO_TASK = DemoTask(
    task="detection",
    position=2,
    images={"train": 1000, "val": 60, "test": 120},
    training={
        "model": "retinanet",
        "model_options": {
            "backbone_options": {"width": 16, "stem": "deep", "shortcut": "pooled"},
            "channels": 48,
            "depth": 2,
            "levels": [3, 5],
            "anchor_scale": 2.0,
            "anchor_ratios": [1.0],
            "box_loss": "ciou",
        },
        "image_size": 128,
        "epochs": 4,
        "batch_size": 16,
        "average_decay": 0.98,
        "optimizer": {"name": "adamw", "learning_rate": 0.004, "weight_decay": 0.02, "clip_norm": 10.0},
        "schedule": {"name": "cosine", "warmup_epochs": 0.5, "final_share": 0.02},
        "augmentation": {"flip": 0.5, "scale": [0.9, 1.1]},
    },
    write=write_coco,
    score=lambda report: ("mAP50", report.map50),
    ask=_ask,
    from_row=_from_row,
    compare=_compare,
    options=lambda labels: {"score_threshold": _THRESHOLD, "max_results": _MOST},
    starts_from="segmentation",
    look_at=("precision_recall.png", "worst.jpg"),
)
