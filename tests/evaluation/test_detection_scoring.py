"""`evaluate` on a detector: the scores, and the files that it writes."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from coco_by_hand import by_hand
from tiny_cells import CELLS, LABELS, POSTPROC, SIZE, Block, publish_cells, score_of, write_blocks, write_ground_truth

from cvserve.artifact import Artifact, PreprocSpec
from cvserve.errors import ArtifactError, InvalidInput
from cvserve.evaluation import evaluate
from cvserve.runs import RunDescription

# What is in each image, and what its annotations say instead.
SHOWN: dict[str, list[Block]] = {
    "plain.png": [("red", 0, 0, 200), ("green", 3, 5, 180), ("blue", 5, 7, 200)],
    "wrong.png": [("red", 1, 1, 200), ("blue", 4, 2, 190)],
    "missed.png": [("green", 2, 2, 170), ("green", 4, 6, 152)],
}
TRUTH: dict[str, list[Block]] = {
    "plain.png": SHOWN["plain.png"],
    "wrong.png": [("red", 1, 1, 200), ("green", 4, 2, 190)],
    "missed.png": [("green", 2, 2, 170), ("green", 4, 6, 152), ("red", 0, 7, 200)],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """COCO's layout, with a val side."""
    root = tmp_path_factory.mktemp("blocks")
    for name, blocks in SHOWN.items():
        write_blocks(root / "val2017" / name, blocks)
    write_ground_truth(root / "annotations" / "instances_val2017.json", TRUTH)
    return root


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return publish_cells(tmp_path_factory.mktemp("models") / "cells")


def test_an_artifact(folder: Path, artifact: Artifact, tmp_path: Path) -> None:
    result = evaluate(artifact.directory, str(folder), split="val", out=tmp_path, batch_size=2)
    report = result.report
    assert report.images == 3
    assert {row.label: row.objects for row in report.classes} == {"red": 3, "green": 4, "blue": 1}
    # Red: 2 of 3 found, before anything wrong. Green: 3 of 4. Blue: its one, after a wrong one with less score.
    assert {row.label: row.voc_ap50 for row in report.classes} == pytest.approx(
        {"red": 2 / 3, "green": 3 / 4, "blue": 1}
    )
    written = json.loads((tmp_path / "evaluation.json").read_text())
    assert written["map"] == report.map
    stats = by_hand(tmp_path / "ground_truth.json", tmp_path / "detections.json")
    assert (report.map, report.map50, report.map75) == pytest.approx(stats[:3], abs=1e-6)
    # Against the data set's own file, whose numbers the results have.
    own = by_hand(folder / "annotations" / "instances_val2017.json", tmp_path / "detections.json")
    assert own[:3] == pytest.approx(stats[:3], abs=1e-6)
    ground_truth = json.loads((tmp_path / "ground_truth.json").read_text())
    assert [(item["id"], item["width"], item["height"]) for item in ground_truth["images"]] == [
        (11, 128, 96),
        (22, 128, 96),
        (33, 128, 96),
    ]
    for name in ("precision_recall.png", "worst.jpg"):
        assert cv2.imread(str(tmp_path / name)).std() > 10


def test_boxes_are_scored_where_the_originals_have_them(folder: Path, artifact: Artifact, tmp_path: Path) -> None:
    evaluate(artifact.directory, str(folder), split="val", out=tmp_path)
    found = json.loads((tmp_path / "detections.json").read_text())
    best = [item for item in found if item["image_id"] == 11 and item["score"] > 0.5]
    assert sorted((item["category_id"], *np.round(item["bbox"], 3).tolist()) for item in best) == [
        (7, 0, 0, 16, 16),
        (12, 112, 80, 16, 16),
        (30, 80, 48, 16, 16),
    ]
    assert max(item["score"] for item in best) == pytest.approx(score_of(200))
    # The unsure ones too, but none of the padding around the image, which scores 0.05.
    assert all(item["score"] >= 0.001 for item in found)
    assert not [item for item in found if min(item["bbox"][2:]) <= 0 or 0.04 < item["score"] < 0.06]


def test_the_page_of_misses_begins_with_the_worst(
    folder: Path, artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cvserve.evaluation import detection

    shown: list[list[str]] = []
    original = detection.draw_worst

    def draw_worst(images, dataset, threshold, path):
        shown.append([Path(dataset.name(image.index)).name for image in images])
        counts = [(int(p.missed(threshold).sum()), int(p.wrong(threshold).sum())) for p in images]
        assert counts == [(1, 1), (1, 0), (0, 0)]
        original(images, dataset, threshold, path)

    monkeypatch.setattr(detection, "draw_worst", draw_worst)
    evaluate(artifact.directory, str(folder), split="val", out=tmp_path)
    assert shown == [["wrong.png", "missed.png", "plain.png"]]
    page = cv2.imread(str(tmp_path / "worst.jpg"))[..., ::-1].astype(int)
    # Yellow for what was missed and red for what is wrong, on the first image.
    first = page[:420, :490]
    for color in ((255, 200, 0), (235, 40, 60)):
        assert (np.abs(first - color).max(axis=2) < 40).sum() > 100


def test_a_damaged_image_is_left_out_of_everything(folder: Path, artifact: Artifact, tmp_path: Path) -> None:
    ground_truth = folder / "annotations" / "instances_val2017.json"
    before, broken = ground_truth.read_bytes(), folder / "val2017" / "missed.png"
    kept = broken.read_bytes()
    broken.write_bytes(kept[:60])
    try:
        result = evaluate(artifact.directory, str(folder), split="val", out=tmp_path)
    finally:
        broken.write_bytes(kept)
    assert result.report.images == 2
    assert [Path(name).name for name, _ in result.failed] == ["missed.png"]
    assert len(json.loads((tmp_path / "ground_truth.json").read_text())["images"]) == 2
    assert ground_truth.read_bytes() == before


@pytest.fixture
def run(folder: Path, tmp_path: Path) -> Path:
    """A run directory whose network is that of the artifact."""
    keras = pytest.importorskip("keras")
    images = keras.Input((SIZE, SIZE, 3), dtype="uint8", name="images")
    values = keras.layers.AveragePooling2D(SIZE // CELLS)(keras.layers.Rescaling(1.0)(images))
    values = keras.layers.Reshape((-1, len(LABELS)))(values)
    logits = keras.layers.Rescaling(0.1, offset=-15.0, name="class_logits")(values)
    halves = keras.layers.Rescaling(0.0, offset=0.5)(keras.layers.Concatenate()([values, values[..., :1]]))
    directory = tmp_path / "run"
    directory.mkdir()
    keras.Model(images, {"class_logits": logits, "box_offsets": halves}).save(directory / "model.keras")
    preproc = PreprocSpec(height=SIZE, width=SIZE, resize="letterbox", fill=(120, 120, 120))
    description = RunDescription(
        task="detection",
        architecture="cells",
        labels=LABELS,
        preproc=preproc,
        postproc=POSTPROC,
        data=str(folder),
    )
    (directory / "run.json").write_text(description.model_dump_json())
    return directory


def test_a_run_directory_scores_like_the_artifact(run: Path, artifact: Artifact, folder: Path) -> None:
    result = evaluate(run, batch_size=2)
    assert result.data == str(folder)
    assert result.report.map > 0.5
    expected = evaluate(artifact.directory, str(folder), split="val").report
    assert (result.report.map, result.report.voc_map50) == pytest.approx((expected.map, expected.voc_map50), abs=1e-6)
    with pytest.raises(InvalidInput, match="export it"):
        evaluate(run, runtime="onnx")


def test_a_run_without_its_postproc_is_refused(run: Path) -> None:
    description = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(description | {"postproc": None}))
    with pytest.raises(ArtifactError, match=r"run\.json has no postproc, but a detection run needs one, for its boxes"):
        evaluate(run)
