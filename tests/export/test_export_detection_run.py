"""A trained detector's run to an artifact, by the command: parity on its own validation images."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_detector import LABELS, PREPROC, make_detector, make_images, postproc

from cvserve.cli.main import main

pytestmark = pytest.mark.slow


def voc(root: Path, count: int = 6) -> Path:
    """A Pascal VOC folder: random images, each with one object that is a cat."""
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / part).mkdir(parents=True)
    names = [f"image_{number}" for number in range(count)]
    for name, pixels in zip(names, make_images(count), strict=True):
        cv2.imwrite(str(root / "JPEGImages" / f"{name}.jpg"), cv2.resize(pixels, (100, 60)))
        (root / "Annotations" / f"{name}.xml").write_text(
            f"<annotation><filename>{name}.jpg</filename><size><width>100</width><height>60</height><depth>3</depth></size>"
            "<object><name>cat</name><difficult>0</difficult>"
            "<bndbox><xmin>10</xmin><ymin>10</ymin><xmax>60</xmax><ymax>40</ymax></bndbox></object></annotation>"
        )
    for split in ("train", "val", "test"):
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names) + "\n")
    return root


@pytest.fixture
def run_directory(tmp_path: Path) -> Path:
    directory = tmp_path / "run"
    directory.mkdir()
    make_detector("distances").save(directory / "model.keras")
    description = {
        "task": "detection",
        "architecture": "tiny",
        "labels": LABELS,
        "preproc": PREPROC.model_dump(mode="json"),
        "postproc": postproc("distances").model_dump(mode="json"),
        "data": str(voc(tmp_path / "animals")),
    }
    (directory / "run.json").write_text(json.dumps(description))
    (directory / "metrics.json").write_text(json.dumps({"map": 0.25}))
    return directory


def test_the_command(run_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "models" / "animals"
    asked = ["export", str(run_directory), "--to", str(model), "--formats", "onnx"]
    assert main(asked) == 0, capsys.readouterr().err
    assert "onnx (detect)" in capsys.readouterr().out
    manifest = json.loads((model / "1" / "manifest.json").read_text())
    assert (manifest["task"], manifest["labels"]) == ("detection", list(LABELS))
    assert manifest["postproc"]["score_threshold"] == 0.4
    [graph] = manifest["graphs"]
    assert graph["parity"]["images"] == 6
    assert graph["parity"]["objects"] > 6
    assert graph["parity"]["map_difference"] == pytest.approx(0, abs=1e-6)
    assert graph["detect"]["file"]["path"] == "model.detect.onnx"
    assert main(["inspect", str(model)]) == 0
    shown = capsys.readouterr().out
    assert "signature detect, boxes decoded in the graph" in shown
    assert "0.0% unmatched" in shown
    assert main([*asked, "--no-detect-signature"]) == 0
    assert not (model / "2" / "model.detect.onnx").exists()
    assert np.isfinite(graph["latency_ms"]["1"])
