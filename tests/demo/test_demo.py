"""The demo at a small size: every step runs, and all places answer alike."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from cvserve.errors import CvserveError


@pytest.mark.slow
def test_every_step_runs_and_all_answers_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorflow_serving")
    from cvserve.demo import classification

    monkeypatch.setattr(classification, "_PICTURES", {"train": 60, "val": 24, "test": 30})
    monkeypatch.setitem(classification._TRAINING, "epochs", 1)
    out = tmp_path / "demo"
    summary = classification.run_demo(out)
    assert json.loads((out / "summary.json").read_text()) == summary
    assert {graph["format"] for graph in summary["graphs"]} == {"saved_model", "onnx", "tflite"}
    where = {row["where"] for row in summary["answers"]}
    assert {"server (gRPC)", "cvserve predict", "pipeline, tensorflow", "pipeline, onnx", "pipeline, litert"} == where
    for row in summary["answers"]:
        assert row["images"] == 30
        assert row["same_class"]
        assert row["max_abs_difference"] < 1e-4
    assert len(list((out / "annotated").rglob("*.jpg"))) == 30
    assert cv2.imread(str(out / "overview.png")).std() > 10
    assert (out / "evaluation" / "confusion.png").is_file()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    from cvserve.demo import run_demo

    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(CvserveError, match="something else"):
        run_demo(tmp_path)
    assert (tmp_path / "precious.txt").read_text() == "mine"
