"""A whole training of a captioner: three colours, each with a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow as tf

from cvserve.evaluation import evaluate
from cvserve.runs import load_run
from cvserve.training import TrainConfig

COLORS = {"red": (40, 40, 220), "green": (40, 200, 60), "blue": (220, 60, 40)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """18 training and 6 validation images of 32 x 32, with two captions each."""
    root, rng = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    (root / "images").mkdir()
    for split, count in (("train", 18), ("val", 6)):
        rows = ["image,caption"]
        for index in range(count):
            name, color = list(COLORS.items())[index % 3]
            pixels = np.clip(np.array(color) + rng.normal(0, 20, (32, 32, 3)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(root / "images" / f"{split}{index}.png"), pixels)
            rows += [f"{split}{index}.png,A {name} wall.", f'{split}{index}.png,"There, it\'s all {name}."']
        (root / f"captions_{split}.csv").write_text("\n".join(rows) + "\n")
    return root


def _config(folder: Path, **changes: Any) -> TrainConfig:
    values = {
        "task": "captioning",
        "data": str(folder),
        "model": "show_attend_tell",
        # Of a stride of 8: half of the backbone, and of the time to trace it.
        "model_options": {
            "backbone_options": {"width": 8},
            "stride": 8,
            "channels": 16,
            "units": 16,
            "embedding": 8,
            "attention": 8,
            "dropout": 0.1,
        },
        "image_size": 32,
        "epochs": 12,
        "batch_size": 4,
        "optimizer": {"learning_rate": 0.01},
        "schedule": {"warmup_epochs": 1},
        "average_decay": 0.5,
        "label_smoothing": 0.0,
        "captioning": {"captions": "all", "vocabulary": {"min_count": 1}, "monitor": "exact"},
    }
    return TrainConfig.load(None, {**values, **changes})


@pytest.mark.slow
def test_a_captioner_learns_three_sentences(folder: Path, tmp_path: Path) -> None:
    from cvserve.training.trainer import Trainer

    config = _config(folder)
    settings = {**config.captioning.model_dump(), "attention_penalty": 0.1, "freeze_epochs": 0.5}
    trainer = Trainer(_config(folder, captioning=settings), tmp_path / "run")
    assert trainer.steps_per_epoch == 9, "18 images with two captions each in batches of 4"
    run = trainer.run()
    assert trainer.step.traces == 1, "frozen or not, full batches or not, one graph"
    history = json.loads((run.directory / "history.json").read_text())
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert run.metrics["exact"] == max(row["val_exact"] for row in history) == 1.0
    assert run.postproc is not None
    vocabulary = run.postproc.vocabulary
    assert vocabulary is not None
    assert {"\u2581red", "\u2581wall", "'s"} <= set(vocabulary.tokens)
    assert vocabulary.length == 7

    report = evaluate(tmp_path / "run", out=tmp_path / "scores")
    assert report.to_dict()["exact"] == pytest.approx(run.metrics["exact"])
    found = json.loads((tmp_path / "scores" / "captions.json").read_text())
    assert len(found) == 6
    assert {item["caption"] for item in found} <= {
        sentence.format(name) for name in COLORS for sentence in ("a {} wall", "there it's all {}")
    }


@pytest.mark.slow
def test_the_backbone_stays_frozen_as_long_as_asked(folder: Path, tmp_path: Path) -> None:
    from cvserve.training.trainer import Trainer

    settings = {**_config(folder).captioning.model_dump(), "freeze_epochs": 1.0}
    config = _config(folder, epochs=1, captioning=settings)
    trainer = Trainer(config, tmp_path / "run")
    variables = trainer.step.network.variables
    before = [variable.numpy() for variable in variables]
    images, tokens = next(iter(trainer.task.training.batches(0)))
    moved: list[set[str]] = []
    for _ in range(2):
        for _ in range(trainer.steps_per_epoch):
            trainer.step.run(images, tokens, tf.constant(0.01))
        now = [variable.numpy() for variable in variables]
        moved.append(
            {variable.path for variable, old, new in zip(variables, before, now, strict=True) if (old != new).any()}
        )
    of_backbone = {path for path in moved[1] if path.split("/")[0].startswith(("stem", "stage"))}
    assert not moved[0] & of_backbone, "weights, decay and running statistics"
    assert any("moving_mean" in path for path in of_backbone)
    assert any("kernel" in path for path in of_backbone)
    assert "decoder/scores/kernel" in {"/".join(path.split("/")[-3:]) for path in moved[0]}
    assert trainer.step.traces == 1


@pytest.mark.slow
def test_an_interrupted_training_ends_like_one_that_was_not(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cvserve.training.trainer import Trainer

    options = {"backbone_options": {"width": 4}, "stride": 4, "channels": 8, "units": 8, "embedding": 8, "cell": "rnn"}
    settings = {**_config(folder).captioning.model_dump(), "freeze_epochs": 2.0, "captions": "drawn"}
    config = TrainConfig.model_validate(
        {
            **_config(folder, epochs=3, captioning=settings).model_dump(),
            "model": "show_and_tell",
            "model_options": options,
        }
    )
    whole = Trainer(config, tmp_path / "whole").run()
    broken = Trainer(config, tmp_path / "broken")
    save = broken._checkpoints.save

    def save_and_stop(epochs_done: int) -> None:
        save(epochs_done)
        raise KeyboardInterrupt

    monkeypatch.setattr(broken._checkpoints, "save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    resumed = Trainer(config, tmp_path / "broken", resume=True)
    assert resumed.epochs_done == 1
    resumed.run()
    assert load_run(tmp_path / "broken").metrics == whole.metrics
    rows = [json.loads((tmp_path / name / "history.json").read_text()) for name in ("whole", "broken")]
    for row in rows[0] + rows[1]:
        del row["seconds"], row["epoch_seconds"]
    assert rows[0] == rows[1]
