"""Defines captioning in the demo: what is in the image, and where?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cvserve.client import Client
from cvserve.data import write_captions
from cvserve.demo.task import DemoTask, Difference
from cvserve.postproc import CaptionResult, Result, ScoredCaption

_LIMIT = 1e-3


def _ask(client: Client, model: str, images: Sequence[Path], options: Mapping[str, Any]) -> list[Result]:
    return list(client.caption_many(model, images, **options))


def _from_row(row: Mapping[str, Any], labels: tuple[str, ...]) -> Result:
    return CaptionResult(tuple(ScoredCaption(item["text"], item["log_probability"]) for item in row["captions"]))


def _compare(results: Sequence[Result], wanted: Sequence[Result]) -> Difference:
    """Compares the log probabilities; results agree where all words do."""
    largest, same = 0.0, True
    for result, expected in zip(results, wanted, strict=True):
        assert isinstance(result, CaptionResult)
        assert isinstance(expected, CaptionResult)
        largest = max(largest, abs(result.best.log_probability - expected.best.log_probability))
        same = same and result.best.text == expected.best.text
    return Difference(largest, same and largest <= _LIMIT)


DEMO_TASK = DemoTask(
    task="captioning",
    position=3,
    images={"train": 2800, "val": 60, "test": 120},
    training={
        "model": "show_attend_tell",
        "model_options": {
            "backbone_options": {"width": 16, "stem": "deep", "shortcut": "pooled"},
            "stride": 16,
            "channels": 128,
            "units": 128,
            "embedding": 64,
            "attention": 64,
            "dropout": 0.0,
        },
        "image_size": 128,
        "epochs": 7,
        "batch_size": 16,
        "average_decay": 0.98,
        "label_smoothing": 0.0,
        "optimizer": {"name": "adamw", "learning_rate": 0.004, "weight_decay": 0.02, "clip_norm": 5.0},
        "schedule": {"name": "cosine", "warmup_epochs": 0.5, "final_share": 0.02},
        "augmentation": {"crop_scale": None, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0},
        "captioning": {"captions": "first", "monitor": "exact"},
    },
    write=write_captions,
    score=lambda report: ("exact sentences", report.exact),
    ask=_ask,
    from_row=_from_row,
    compare=_compare,
    starts_from="segmentation",
    look_at=("captions.jpg",),
)
