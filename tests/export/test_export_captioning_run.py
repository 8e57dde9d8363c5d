"""A trained captioner's run to an artifact, by the command: parity on its own validation images."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

pytest.importorskip("keras")

from tiny_decoder import PREPROC, make_captioner, make_images, vocabulary

from cvserve.artifact import CaptioningPostproc
from cvserve.cli.main import main

pytestmark = pytest.mark.slow


@pytest.fixture
def run_directory(tmp_path: Path) -> Path:
    directory, data = tmp_path / "run", tmp_path / "data"
    directory.mkdir()
    (data / "images").mkdir(parents=True)
    rows = ["image,caption"]
    for number, image in enumerate(make_images(5)):
        cv2.imwrite(str(data / "images" / f"{number}.png"), cv2.resize(image, (80, 70)))
        rows.append(f"{number}.png,a red circle")
    (data / "captions_val.csv").write_text("\n".join(rows) + "\n")
    make_captioner().save(directory / "model.keras")
    description = {
        "task": "captioning",
        "architecture": "tiny",
        "labels": [],
        "preproc": PREPROC.model_dump(mode="json"),
        "postproc": CaptioningPostproc(vocabulary=vocabulary()).model_dump(mode="json"),
        "data": str(data),
    }
    (directory / "run.json").write_text(json.dumps(description))
    (directory / "metrics.json").write_text(json.dumps({"cider_d": 1.25}))
    return directory


def test_the_command(run_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "models" / "teller"
    asked = ["export", str(run_directory), "--to", str(model), "--formats", "onnx"]
    assert main([*asked, "--beam", "3", "--length-penalty", "0.7"]) == 0, capsys.readouterr().err
    assert "onnx (encode, step)" in capsys.readouterr().out
    manifest = json.loads((model / "1" / "manifest.json").read_text())
    assert (manifest["task"], manifest["labels"]) == ("captioning", [])
    assert manifest["postproc"]["vocabulary"]["tokens"] == list(vocabulary().tokens)
    decoding = manifest["postproc"]["decoding"]
    assert (decoding["method"], decoding["beam_width"], decoding["length_penalty"]) == ("beam", 3, 0.7)
    [graph] = manifest["graphs"]
    for parity in (graph["parity"], graph["steps"]["parity"]):
        assert (parity["images"], parity["agreement"], parity["agreement_limit"]) == (5, 1.0, 1.0)
    assert graph["steps"]["step_file"]["path"] == "model.step.onnx"
    assert main(["inspect", str(model)]) == 0
    assert "model.encode.onnx, model.step.onnx" in capsys.readouterr().out
    assert main([*asked, "--no-step-graphs"]) == 0
    manifest = json.loads((model / "2" / "manifest.json").read_text())
    assert manifest["postproc"]["decoding"]["method"] == "greedy"
    assert not (model / "2" / "model.step.onnx").exists()
    capsys.readouterr()
    assert main([*asked, "--length-penalty", "1"]) == 2
    assert "length_penalty is a setting of beam, not of greedy" in capsys.readouterr().err
