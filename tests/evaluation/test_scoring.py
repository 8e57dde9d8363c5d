"""Scoring artifacts and run directories with the same function."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from tiny_artifact import LABELS, publish_tiny, write_image

from cvserve.errors import InvalidInput, NotFound
from cvserve.evaluation import evaluate


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of one colour; one of val is filed under the wrong colour."""
    root = tmp_path_factory.mktemp("colours")
    for split, count in (("train", 4), ("val", 3)):
        for label in LABELS:
            for index in range(count):
                write_image(root / split / label / f"{index}.png", label)
    write_image(root / "val" / "red" / "really_blue.png", "blue")
    return root


def test_an_artifact(folder: Path, tmp_path: Path) -> None:
    artifact = publish_tiny(tmp_path / "colours")
    result = evaluate(artifact.directory, str(folder), split="val", out=tmp_path / "out")
    assert (result.report.images, result.report.top1) == (10, 0.9)
    index = {label: position for position, label in enumerate(LABELS)}
    assert result.report.confusion[index["red"], index["blue"]] == 1
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert written["top1"] == 0.9
    assert written["confusion"] == result.report.confusion.tolist()
    assert cv2.imread(str(tmp_path / "out" / "confusion.png")).std() > 10


def test_a_damaged_image_is_reported_and_left_out(folder: Path, tmp_path: Path) -> None:
    artifact = publish_tiny(tmp_path / "colours")
    broken = folder / "val" / "green" / "broken.png"
    broken.write_bytes(b"no image at all")
    try:
        result = evaluate(artifact.directory, str(folder), split="val", batch_size=4)
    finally:
        broken.unlink()
    assert result.report.images == 10
    [(name, reason)] = result.failed
    assert name.endswith("broken.png")
    assert reason


def test_a_run_directory_scores_as_in_its_training(folder: Path, tmp_path: Path) -> None:
    from cvserve.training import TrainConfig, train

    settings = {
        "data": str(folder),
        "model": "resnet20",
        "model_options": {"width": 4},
        "image_size": 16,
        "epochs": 2,
        "batch_size": 4,
    }
    run = train(TrainConfig.load(None, settings), tmp_path / "run")
    result = evaluate(run.directory)
    assert result.data == str(folder)
    assert result.report.top1 == pytest.approx(run.metrics["top1"])
    assert result.report.loss == pytest.approx(run.metrics["loss"], abs=1e-5)
    with pytest.raises(InvalidInput, match="export it"):
        evaluate(run.directory, runtime="onnx")


def test_missing_inputs_are_reported(folder: Path, tmp_path: Path) -> None:
    artifact = publish_tiny(tmp_path / "colours")
    with pytest.raises(InvalidInput, match="add --data"):
        evaluate(artifact.directory)
    with pytest.raises(NotFound, match="no model at"):
        evaluate(tmp_path / "nothing", str(folder))
    for label in (*LABELS, "violet"):
        write_image(tmp_path / "other" / "val" / label / "1.png", "red")
        write_image(tmp_path / "other" / "train" / label / "1.png", "red")
    with pytest.raises(InvalidInput, match="violet"):
        evaluate(artifact.directory, str(tmp_path / "other"))


def test_a_run_directory_has_no_choice_of_device(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(InvalidInput, match="is a run directory, which runs where TensorFlow does"):
        evaluate(tmp_path, device="gpu:0")
