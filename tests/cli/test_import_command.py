"""`cvserve import`, and commands with the imported model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_artifact import write_graph

SPEC = """
task: classification
labels: [red, green, blue]
preproc: {resize: exact}
"""


def test_an_onnx_file_that_cvserve_did_not_make(cvserve, photos: Path, tmp_path: Path) -> None:
    write_graph(tmp_path / "theirs.onnx")
    (tmp_path / "spec.yaml").write_text(SPEC)
    for version in (1, 2):
        done = cvserve("import", "theirs.onnx", "--spec", "spec.yaml", "--to", "models/theirs")
        assert done.returncode == 0, done.stderr
        assert f"published models/theirs/{version}" in done.stdout
    done = cvserve("predict", "models/theirs", photos, "--top-k", "1")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["image"], row["classes"][0]["label"], row["version"]) for row in rows] == [
        ("blue.png", "blue", 2),
        ("red.png", "red", 2),
        ("sub/green.jpg", "green", 2),
    ]


def test_errors_are_sentences(cvserve, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    (tmp_path / "theirs.onnx").write_text("no graph")
    for words, sentence in (
        (("missing.onnx", "--spec", "spec.yaml"), "missing.onnx"),
        (("theirs.onnx", "--spec", "missing.yaml"), "no settings file at missing.yaml"),
        (("theirs.onnx", "--spec", "spec.yaml"), "theirs.onnx"),
    ):
        done = cvserve("import", *words, "--to", "models/theirs")
        assert done.returncode == 2, done.stderr
        assert sentence in done.stderr
        assert "Traceback" not in done.stderr
    assert not list((tmp_path / "models").glob("*/[0-9]*"))


@pytest.mark.slow
def test_a_real_model_on_real_photos(cvserve, shared: Path, tmp_path: Path) -> None:
    """`predict` with the 49 photos of ../shared: the figures that the model's README measured, less one."""
    model = shared / "models" / "mobilenet_v2_imagenet_int8"
    if not model.is_dir():
        pytest.skip("the shared ImageNet model is not beside this checkout")
    (tmp_path / "spec.yaml").write_text(
        "task: classification\nlabels: labels.txt\npreproc: {resize: short_side, short_side: 256}\n"
        "input: {scale: 1/255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}\n"
    )
    done = cvserve("import", model / "model.tflite", "--spec", "spec.yaml", "--to", "models/mobilenet_v2")
    assert done.returncode == 0, done.stderr
    done = cvserve("predict", "models/mobilenet_v2", model / "photos", "--top-k", "5")
    assert done.returncode == 0, done.stderr
    synsets = (model / "synsets.txt").read_text().split()
    ranks = []
    for row in map(json.loads, done.stdout.splitlines()):
        ranked = [synsets[item["index"]] for item in row["classes"]]
        ground_truth = row["image"].partition("_")[0]
        ranks.append(ranked.index(ground_truth) if ground_truth in ranked else 5)
    assert len(ranks) == 49
    assert sum(rank == 0 for rank in ranks) >= 33
    assert sum(rank < 5 for rank in ranks) >= 45
