"""Defines semantic segmentation in the demo: to which shape does each pixel belong?"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cvserve.client import Client
from cvserve.data import write_mask_folder
from cvserve.demo.task import DemoTask, Difference
from cvserve.postproc import Result, SegmentationResult
from cvserve.postproc.masks import from_png

_AGREEING = 0.999
"""The least fraction of an image's pixels that must agree: those at a tie may be of either class."""
_LIMIT = 1e-3


def _ask(client: Client, model: str, images: Sequence[Path], options: Mapping[str, Any]) -> list[Result]:
    return list(client.segment_many(model, images, **options))


def _from_row(row: Mapping[str, Any], labels: tuple[str, ...]) -> Result:
    found = row["segmentation"]
    confidence = np.zeros(len(labels), np.float32)
    for item in found["classes"]:
        confidence[item["index"]] = item["confidence"]
    return SegmentationResult(from_png(base64.b64decode(found["class_map"])), confidence, labels)


def _compare(results: Sequence[Result], wanted: Sequence[Result]) -> Difference:
    """Compares the classes' mean confidences; results agree where hardly a pixel has another class."""
    largest, same = 0.0, True
    for result, expected in zip(results, wanted, strict=True):
        assert isinstance(result, SegmentationResult)
        assert isinstance(expected, SegmentationResult)
        # A client gets only the classes that occur, so there may be fewer.
        confidence = np.zeros(len(expected.names), np.float32)
        confidence[: len(result.confidence)] = result.confidence
        largest = max(largest, float(np.abs(confidence - expected.confidence).max()))
        same = same and float((result.class_map == expected.class_map).mean()) >= _AGREEING
    return Difference(largest, same and largest <= _LIMIT)


DEMO_TASK = DemoTask(
    task="segmentation",
    position=1,
    images={"train": 1200, "val": 50, "test": 120},
    training={
        "model": "unet",
        "model_options": {
            # Those of the classifier that it starts from.
            "backbone_options": {"width": 16, "stem": "deep", "shortcut": "pooled"},
            "width": 16,
            "dropout": 0.0,
        },
        "image_size": 128,
        "epochs": 7,
        "batch_size": 8,
        "average_decay": 0.98,
        "label_smoothing": 0.0,
        "optimizer": {"name": "adamw", "learning_rate": 0.006, "weight_decay": 0.02, "clip_norm": 10.0},
        "schedule": {"name": "cosine", "warmup_epochs": 1, "final_share": 0.02},
        "augmentation": {"flip": 0.5, "scale": [0.9, 1.1], "translate": 0.05},
        "segmentation": {"losses": {"cross_entropy": 1.0, "dice": 0.5}},
    },
    write=write_mask_folder,
    score=lambda report: ("mIoU", report.miou),
    ask=_ask,
    from_row=_from_row,
    compare=_compare,
    starts_from="classification",
    inside="images",
    look_at=("confusion.png", "worst.jpg"),
)
