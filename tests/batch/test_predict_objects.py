"""`predict` with a detector: rows in pixels of the original images, in every format."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from coco_by_hand import by_hand
from tiny_cells import LABELS, Block, cell_box, publish_cells, score_of, write_blocks, write_ground_truth

from cvserve.batch import GroundTruthNumbers, Sources, open_sink, predict
from cvserve.errors import InvalidInput
from cvserve.pipeline import Pipeline

SHOWN: dict[str, list[Block]] = {
    "empty.png": [],
    "one.png": [("green", 3, 5, 180)],
    "three.png": [("red", 0, 0, 190), ("blue", 5, 7, 200), ("green", 2, 3, 150)],
}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory):
    artifact = publish_cells(tmp_path_factory.mktemp("models") / "cells")
    with Pipeline.load(artifact.directory, runtime="onnx") as opened:
        yield opened


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name, blocks in SHOWN.items():
        write_blocks(folder / name, blocks)
    return folder


def run(pipeline: Pipeline, photos: Path, out: Path, **options) -> list[dict]:
    with open_sink(out, task="detection", labels=LABELS) as sink:
        predict(pipeline, Sources([photos]), sink, **options)
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_rows(pipeline: Pipeline, photos: Path, tmp_path: Path) -> None:
    empty, one, three = run(pipeline, photos, tmp_path / "r.jsonl", batch_size=2)
    known = {"task": "detection", "model": "cells", "version": 1, "width": 128, "height": 96}
    assert empty == {"image": "empty.png", **known, "detections": []}
    [found] = one["detections"]
    assert found == {
        "label": "green",
        "index": 1,
        "score": pytest.approx(score_of(180), abs=1e-5),
        "box": cell_box(3, 5),
    }
    assert [item["label"] for item in three["detections"]] == ["blue", "red", "green"]
    assert [item["box"] for item in three["detections"]] == [cell_box(5, 7), cell_box(0, 0), cell_box(2, 3)]


def test_the_options_of_the_caller(pipeline: Pipeline, photos: Path, tmp_path: Path) -> None:
    sure = run(pipeline, photos, tmp_path / "a.jsonl", score_threshold=0.9)
    assert [len(row["detections"]) for row in sure] == [0, 1, 2]
    few = run(pipeline, photos, tmp_path / "b.jsonl", max_results=1)
    assert [len(row["detections"]) for row in few] == [0, 1, 1]
    assert [len(item) for item in pipeline(photos / "three.png", max_results=2)] == [2]
    for options in ({"score_threshold": 2.0}, {"max_results": 0}):
        with pytest.raises(InvalidInput, match=next(iter(options))):
            run(pipeline, photos, tmp_path / next(iter(options)), **options)
        with pytest.raises(InvalidInput, match=next(iter(options))):
            pipeline([], **options)


def test_coco_results_are_scored_as_they_are(pipeline: Pipeline, photos: Path, tmp_path: Path) -> None:
    ground_truth = write_ground_truth(tmp_path / "truth.json", SHOWN)
    numbers = GroundTruthNumbers(ground_truth, LABELS)
    with open_sink(tmp_path / "r.json", task="detection", labels=LABELS, numbers=numbers) as sink:
        predict(pipeline, Sources([photos]), sink, score_threshold=0.001)
    found = json.loads((tmp_path / "r.json").read_text())
    assert {item["image_id"] for item in found if item["score"] > 0.5} == {22, 33}
    assert by_hand(ground_truth, tmp_path / "r.json")[0] == pytest.approx(1.0)


def test_annotated_copies_show_the_boxes(pipeline: Pipeline, photos: Path, tmp_path: Path) -> None:
    run(pipeline, photos, tmp_path / "r.jsonl", annotate=tmp_path / "out")
    empty = cv2.imread(str(tmp_path / "out" / "empty.png.jpg"))
    assert empty.shape == (192, 256, 3)
    assert empty.max() < 20
    drawn = cv2.imread(str(tmp_path / "out" / "one.png.jpg"))[..., ::-1].astype(int)
    _, y1, x2, y2 = (int(2 * value) for value in cell_box(3, 5))
    # The colour of class 1, along the right side of its box.
    side = drawn[y1 + 6 : y2 - 6, x2 - 3 : x2 + 3]
    assert (np.abs(side - (60, 180, 75)).max(axis=2) < 60).any()


def test_boxes_of_an_image_that_exif_turns(pipeline: Pipeline, tmp_path: Path) -> None:
    upright = cv2.imread(str(write_blocks(tmp_path / "upright.png", SHOWN["three.png"])))
    stored = cv2.rotate(upright, cv2.ROTATE_90_COUNTERCLOCKWISE)
    data = cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    # EXIF with orientation 6 alone: to be shown, the image must be turned clockwise by 90 degrees.
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    turned = data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:]
    expected, found = pipeline([tmp_path / "upright.png", turned], score_threshold=0.4)
    assert (found.image_width, found.image_height) == (128, 96)
    assert found.indexes.tolist() == expected.indexes.tolist() == [2, 0, 1]
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.01)
