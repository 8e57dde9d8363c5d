"""A whole training on generated images: the run directory, one trace, resuming, stopping."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from cvserve.errors import CvserveError, ImageError, InvalidInput
from cvserve.runs import load_run
from cvserve.training import TrainConfig

COLORS = {"blue": (220, 60, 40), "green": (40, 200, 60), "red": (40, 40, 220)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three colours, 14 training and 4 validation images each: 42 is no multiple of the batch of 8."""
    root, rng = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    for split, count in (("train", 14), ("val", 4)):
        for name, color in COLORS.items():
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = np.clip(np.array(color) + rng.normal(0, 40, (20, 24, 3)), 0, 255).astype(np.uint8)
                cv2.imwrite(str(root / split / name / f"{index}.png"), pixels)
    return root


def config(folder: Path, **changes: object) -> TrainConfig:
    values = {
        "data": str(folder),
        "model": "resnet20",
        "model_options": {"width": 4, "dropout": 0.1},
        "image_size": 16,
        "epochs": 3,
        "batch_size": 8,
        "average_decay": 0.9,
        "schedule": {"warmup_epochs": 1},
    }
    return TrainConfig.load(None, {**values, **changes})


def test_a_run_directory_holds_everything(folder: Path, tmp_path: Path) -> None:
    from cvserve.training.trainer import Trainer

    trainer = Trainer(config(folder, epochs=4), tmp_path / "run")
    run = trainer.run()
    assert trainer.step.traces == 1, "42 images in batches of 8 over 4 epochs must share one graph"
    assert run.labels == ("blue", "green", "red")
    assert run.metrics["top1"] >= 0.9
    assert (run.preproc.height, run.architecture) == (16, "resnet20")
    files = {path.name for path in run.directory.iterdir()}
    assert {"config.yaml", "run.json", "model.keras", "metrics.json", "history.json", "curves.png", "logs"} <= files
    assert list((run.directory / "logs").glob("events*"))
    assert cv2.imread(str(run.directory / "curves.png")).shape[1] > 500
    assert TrainConfig.load(run.directory / "config.yaml") == trainer.config
    history = json.loads((run.directory / "history.json").read_text())
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    assert run.metrics["top1"] == max(row["val_top1"] for row in history)
    assert run.load_model().input_shape == (None, 16, 16, 3)


def test_an_existing_run_is_not_overwritten(folder: Path, tmp_path: Path) -> None:
    from cvserve.training import train

    (tmp_path / "config.yaml").write_text(config(folder).dump())
    with pytest.raises(InvalidInput, match="--resume"):
        train(config(folder), tmp_path)
    with pytest.raises(InvalidInput, match="trained with epochs = 3, not 5"):
        train(config(folder, epochs=5), tmp_path, resume=True)


def test_settings_without_influence_may_change_when_resuming(folder: Path, tmp_path: Path) -> None:
    from cvserve.training.trainer import _check_directory

    (tmp_path / "config.yaml").write_text(config(folder).dump())
    for changes in ({"workers": 5}, {"cache_gib": 0.5}, {"data": f"{folder}/"}, {"data": os.path.relpath(folder)}):
        _check_directory(config(folder, **changes), tmp_path, resume=True)
    with pytest.raises(InvalidInput, match="trained with data ="):
        _check_directory(config(folder / "train"), tmp_path, resume=True)


def test_images_that_are_deleted_while_training_are_reported(folder: Path, tmp_path: Path) -> None:
    from cvserve.training.trainer import Trainer

    shutil.copytree(folder, tmp_path / "data")
    trainer = Trainer(config(tmp_path / "data", cache_gib=0.0), tmp_path / "run")
    shutil.rmtree(tmp_path / "data" / "train")
    with pytest.raises(ImageError, match=r"train/\w+/\d+\.png: no such file"):
        trainer.run()


def test_stops_early(folder: Path, tmp_path: Path) -> None:
    from cvserve.training import train

    # A learning rate of almost nothing: only the normalisation's statistics move, and no epoch stays the best long.
    run = train(config(folder, epochs=40, patience=2, optimizer={"learning_rate": 1e-9}), tmp_path / "run")
    scores = [row["val_top1"] for row in json.loads((run.directory / "history.json").read_text())]
    assert len(scores) == scores.index(max(scores)) + 1 + 2 < 40


def test_ends_in_time(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock on which each epoch takes a minute: of ten epochs, four fit into four and a half minutes."""
    from cvserve.training import trainer as module

    trainer = module.Trainer(config(folder, epochs=10, minutes=4.5), tmp_path / "run")
    planned: list[int] = []
    lines: list[str] = []
    monkeypatch.setattr(module, "say", lines.append)
    clock = itertools.count()  # read twice an epoch, at its start and its end
    minute = SimpleNamespace(perf_counter=lambda: trainer._begun + 60 * ((next(clock) + 1) // 2))
    monkeypatch.setattr(module, "time", minute)
    monkeypatch.setattr(trainer.task.training, "plan", planned.append)
    run = trainer.run()
    endings = [line.rpartition(", ")[2] for line in lines if ": loss" in line]
    assert endings[:3] == ["about 3 min left", "about 2 min left", "about 60 s left"]
    assert len(endings) == 4
    assert not endings[3].endswith("left")
    assert lines[-1] == "stopped after epoch 4: no other fits into 4.5 minutes"
    history = json.loads((run.directory / "history.json").read_text())
    assert [row["seconds"] for row in history] == [60, 120, 180, 240]
    assert [row["epoch_seconds"] for row in history] == [60] * 4
    assert planned == [10, 4, 4, 4]
    rates = [row["learning_rate"] for row in history]
    assert rates[0] == pytest.approx(0.05)
    assert rates[1] < 0.05, "the warm-up of an epoch is over"
    assert 0 < rates[-1] < 0.01, "it falls in time"
    resumed = module.Trainer(config(folder, epochs=10, minutes=4.5), tmp_path / "run", resume=True)
    assert resumed.epochs_done == 4
    assert resumed.epochs == 4


def test_the_error_of_a_diverging_loss_names_the_setting(folder: Path, tmp_path: Path) -> None:
    from cvserve.training import train

    with pytest.raises(CvserveError, match=r"lower optimizer\.learning_rate"):
        train(config(folder, optimizer={"learning_rate": 1e30}, schedule={"warmup_epochs": 0}), tmp_path / "run")


_TRAIN = """
import sys
from cvserve.training import TrainConfig, train
train(TrainConfig.load(sys.argv[1]), sys.argv[2], resume=True)
"""


@pytest.mark.slow
def test_resuming_after_kill_gives_the_same_result(folder: Path, tmp_path: Path) -> None:
    settings = tmp_path / "train.yaml"
    settings.write_text(config(folder, epochs=6, precision="float32").dump())

    def start(out: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", _TRAIN, str(settings), str(out)],
            stderr=subprocess.DEVNULL,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )

    whole = start(tmp_path / "whole")
    assert whole.wait(timeout=240) == 0

    cut = start(tmp_path / "cut")
    history = tmp_path / "cut" / "history.json"
    deadline = time.monotonic() + 240
    while not (history.is_file() and len(json.loads(history.read_text())) >= 2):
        assert time.monotonic() < deadline
        assert cut.poll() is None, "the training ended before it could be killed"
        time.sleep(0.01)
    cut.send_signal(signal.SIGKILL)
    cut.wait()
    assert len(json.loads(history.read_text())) < 6, "it was killed too late to show anything"
    assert start(tmp_path / "cut").wait(timeout=240) == 0

    rows = [json.loads((tmp_path / name / "history.json").read_text()) for name in ("whole", "cut")]
    assert [row["epoch"] for row in rows[1]] == [1, 2, 3, 4, 5, 6]
    for expected, row in zip(*rows, strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    expected, resumed = (load_run(tmp_path / name).load_model() for name in ("whole", "cut"))
    for one, other in zip(expected.weights, resumed.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-3, atol=1e-5)
