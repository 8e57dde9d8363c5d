"""Defines classification in the demo: which shape is it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cvserve.client import Client
from cvserve.data import write_image_folder
from cvserve.demo.task import DemoTask, Difference
from cvserve.postproc import ClassificationResult, ClassScore, Result

_LIMIT = 1e-4


def _ask(client: Client, model: str, images: Sequence[Path], options: Mapping[str, Any]) -> list[Result]:
    return list(client.classify_many(model, images, **options))


def _from_row(row: Mapping[str, Any], labels: tuple[str, ...]) -> Result:
    return ClassificationResult(tuple(ClassScore(**item) for item in row["classes"]))


def _scores(result: Result) -> np.ndarray:
    """Returns the scores, float64 [C], in index order."""
    assert isinstance(result, ClassificationResult)
    return np.array([item.score for item in sorted(result.classes, key=lambda item: item.index)])


def _compare(results: Sequence[Result], wanted: Sequence[Result]) -> Difference:
    probabilities = np.stack([_scores(result) for result in results])
    expected = np.stack([_scores(result) for result in wanted])
    largest = float(np.abs(probabilities - expected).max())
    same_class = bool((probabilities.argmax(axis=1) == expected.argmax(axis=1)).all())
    return Difference(largest, same_class and largest <= _LIMIT)


DEMO_TASK = DemoTask(
    task="classification",
    position=0,
    images={"train": 2000, "val": 200, "test": 120},
    training={
        "model": "resnet18",
        "model_options": {"width": 16, "stem": "deep", "shortcut": "pooled"},
        "image_size": 64,
        "epochs": 8,
        "batch_size": 16,
        "average_decay": 0.97,
        "optimizer": {"name": "adamw", "learning_rate": 0.004, "weight_decay": 0.02, "clip_norm": 10.0},
        "schedule": {"warmup_epochs": 1},
        "augmentation": {"flip": 0.5, "crop_scale": [0.8, 1.0]},
    },
    write=write_image_folder,
    score=lambda report: ("top-1", report.top1),
    ask=_ask,
    from_row=_from_row,
    compare=_compare,
    options=lambda labels: {"top_k": len(labels)},
    look_at=("confusion.png",),
)
