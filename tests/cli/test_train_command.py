"""The settings of `cvserve train` from its flags, and one run of the whole path."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from tiny_artifact import LABELS, write_image

from cvserve.cli import train as command
from cvserve.cli.arguments import Parser
from cvserve.training import TrainConfig


def settings(*words: str) -> dict:
    parser = Parser()
    command.add_arguments(parser)
    return command._nested(parser.parse_args([*words, "--out", "x"]))


def test_every_flag_is_a_setting_of_training() -> None:
    values = {str: "sgd", float: "0.5"}
    for flag, key, kind, *_ in command._FLAGS:
        text = {"task": "classification", "precision": "float32"}.get(key, values.get(kind, "8"))
        config = TrainConfig.load(None, {"data": "d", **settings(flag, text)})
        value: object = config
        for part in key.split("."):
            value = getattr(value, part)
        assert str(value) == text, flag


def test_flags_that_are_not_given_change_nothing() -> None:
    assert settings() == {}
    assert settings("--learning-rate", "0.1", "--optimizer", "adamw") == {
        "optimizer": {"learning_rate": 0.1, "name": "adamw"}
    }


def test_set_overrides_flags_and_flags_override_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[TrainConfig] = []

    def train(config: TrainConfig, out: Path, *, resume: bool) -> argparse.Namespace:
        seen.append(config)
        return argparse.Namespace(metrics={"top1": 0.5})

    monkeypatch.setattr("cvserve.training.train", train, raising=False)
    file = tmp_path / "c.yaml"
    file.write_text("data: d\nepochs: 3\nseed: 4\noptimizer: {momentum: 0.5, learning_rate: 0.3}\n")
    parser = Parser()
    command.add_arguments(parser)
    words = ["--config", str(file), "--seed", "5", "--learning-rate", "0.2", "--set", "seed=6", "--out", str(tmp_path)]
    assert command.run(parser.parse_args(words)) == 0
    assert (seen[0].epochs, seen[0].seed) == (3, 6)
    assert (seen[0].optimizer.momentum, seen[0].optimizer.learning_rate) == (0.5, 0.2)
    # --resume takes the run's own settings.
    (tmp_path / "config.yaml").write_text("data: d\nepochs: 9\n")
    assert command.run(parser.parse_args(["--resume", "--out", str(tmp_path)])) == 0
    assert seen[1].epochs == 9


@pytest.mark.slow
def test_train_evaluate_export_predict(cvserve, tmp_path: Path) -> None:
    """The commands of the README, one after the other, on three colours."""
    for split, count in (("train", 16), ("val", 4)):
        for index in range(count):
            for color in LABELS:
                write_image(tmp_path / "data" / split / color / f"{index}.png", color, size=(40 + index, 36))
    words = ["--model", "resnet20", "--data", "data", "--image-size", "32", "--epochs", "2", "--batch-size", "8"]
    done = cvserve("train", *words, "--workers", "1", "--out", "runs/colours", "--set", "average_decay=0")
    assert done.returncode == 0, done.stderr
    assert "next: cvserve export runs/colours --to models/colours" in done.stdout
    for noise in ("Traceback", "absl", "cuda", "oneDNN"):  # TensorFlow's start-up messages are hidden
        assert noise not in done.stderr

    done = cvserve("evaluate", "runs/colours", "--json", "--out", "scores")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"] == 12
    assert (tmp_path / "scores" / "confusion.png").is_file()

    done = cvserve("export", "runs/colours", "--to", "models/colours", "--formats", "onnx")
    assert done.returncode == 0, done.stderr
    assert "published models/colours/1" in done.stdout

    done = cvserve("evaluate", "models/colours", "--data", "data", "--runtime", "onnx")
    assert done.returncode == 0, done.stderr
    assert "top-1" in done.stdout

    done = cvserve("predict", "models/colours", "data/val", "--out", "results.jsonl")
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 12
