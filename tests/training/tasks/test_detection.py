"""A whole training of a detector on generated scenes: one graph for any number of objects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cvserve.training import TrainConfig

pytestmark = pytest.mark.slow

# One to five objects a scene; 14 images are no multiple of the batch of 4.
DATA = "scenes:detection?count=14&val_count=4&image_size=64"


def config(**changes: object) -> TrainConfig:
    values = {
        "task": "detection",
        "model": "yolo",
        "model_options": {"width": 4},
        "data": DATA,
        "image_size": 64,
        "epochs": 2,
        "batch_size": 4,
        "optimizer": {"name": "adamw", "learning_rate": 0.002},
        "schedule": {"warmup_epochs": 1},
    }
    return TrainConfig.load(None, {**values, **changes})


def test_ragged_objects_share_one_graph(tmp_path: Path) -> None:
    from cvserve.data import Scenes
    from cvserve.training.trainer import Trainer

    numbers = {len(Scenes(14, task="detection", image_size=64).objects(index)) for index in range(14)}
    assert len(numbers) > 2, "the batches must differ in their number of objects"
    whole = Trainer(config(), tmp_path / "whole")
    run = whole.run()
    assert whole.step.traces == 1
    assert set(run.metrics) == {"epoch", "map", "map50"}
    assert run.postproc is not None
    assert run.postproc.boxes is not None
    history = json.loads((run.directory / "history.json").read_text())
    assert history[1]["loss"] < history[0]["loss"]


def test_masks_are_learned_and_scored(tmp_path: Path) -> None:
    """Asked for as segmentation, since that is what people call it."""
    from cvserve.evaluation import evaluate
    from cvserve.training.trainer import Trainer

    options = {
        **{"backbone_options": {"width": 4}, "levels": (2, 5), "units": 16, "sampled": 8, "channels": 8},
        **{"candidates": 40, "proposals": 16, "objects": 8, "mask_channels": 8, "mask_depth": 1},
    }
    settings = config(task="segmentation", model="mask_rcnn", model_options=options)
    assert settings.task == "detection"
    assert settings.optimizer.name == "adamw"
    whole = Trainer(settings, tmp_path / "whole")
    run = whole.run()
    assert whole.step.traces == 1
    assert set(run.metrics) == {"epoch", "map", "map50", "mask_map", "mask_map50"}
    history = json.loads((run.directory / "history.json").read_text())
    assert history[1]["loss"] < history[0]["loss"]
    report = evaluate(run.directory, split="val").report
    assert report.masks.map == pytest.approx(run.metrics["mask_map"], abs=1e-6)
