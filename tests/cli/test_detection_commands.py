"""`cvserve predict` and `cvserve evaluate` with a detector, as a person or a script runs them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from coco_by_hand import by_hand
from tiny_cells import publish_cells, write_blocks, write_ground_truth
from tiny_instances import publish_instances

BLOCKS = {
    "000000000007.png": [("green", 3, 5, 180)],
    "two.png": [("red", 0, 0, 190), ("blue", 5, 7, 200)],
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model/, and a data set in COCO's layout."""
    root = tmp_path_factory.mktemp("cells")
    publish_cells(root / "model")
    for name, blocks in BLOCKS.items():
        write_blocks(root / "data" / "val" / name, blocks)
    write_ground_truth(root / "data" / "annotations" / "instances_val.json", BLOCKS)
    return root


def test_evaluate_and_predict_agree_with_pycocotools(cvserve, root: Path, tmp_path: Path) -> None:
    ground_truth = root / "data" / "annotations" / "instances_val.json"
    done = cvserve("evaluate", root / "model", "--data", root / "data", "--split", "val", "--out", "scores")
    assert done.returncode == 0, done.stderr
    assert "VOC AP50" in done.stdout
    assert ": mAP 1.0000 (small 1.0000), mAP50 1.0000, mAP75 1.0000, VOC mAP50 1.0000 on 2 images of" in done.stdout
    assert by_hand(ground_truth, tmp_path / "scores" / "detections.json")[0] == pytest.approx(1.0)
    done = cvserve(
        *("predict", root / "model", root / "data" / "val", "--out", "r.json", "--coco", ground_truth),
        *("--score-threshold", "0.001", "--annotate", "drawn"),
    )
    assert done.returncode == 0, done.stderr
    assert by_hand(ground_truth, tmp_path / "r.json")[0] == pytest.approx(1.0)
    assert (tmp_path / "drawn" / "two.png.jpg").is_file()


def test_rows_of_objects(cvserve, root: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_text("no image")
    images = [root / "data" / "val" / name for name in BLOCKS]
    done = cvserve("predict", root / "model", *images, "broken.jpg", "--out", "r.csv", "--max-results", "1")
    assert done.returncode == 1
    with (tmp_path / "r.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["label"] for row in rows] == ["green", "blue", ""]
    assert rows[2]["error"]
    done = cvserve("predict", root / "model", *images, "--format", "coco")
    assert [item["image_id"] for item in json.loads(done.stdout)] == [7, 1, 1]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--score-threshold", "1.5"], "'1.5' is not a number from 0 to 1"),
        (["--out", "r.json", "--resume"], "COCO results cannot be continued"),
        (["--out", "r.jsonl", "--coco", "TRUTH"], "only in COCO results, not in jsonl"),
        (["--out", "r.json", "--coco", "OTHER"], "other.json has no such image, so that its results"),
    ],
)
def test_a_wrong_use_is_one_sentence(cvserve, root: Path, tmp_path: Path, words: list, sentence: str) -> None:
    files = {
        "TRUTH": root / "data" / "annotations" / "instances_val.json",
        "OTHER": write_ground_truth(tmp_path / "other.json", {"another.png": []}),
    }
    done = cvserve("predict", root / "model", root / "data" / "val", *[files.get(word, word) for word in words])
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "r.json").exists()


def test_masks_of_objects(cvserve, root: Path, tmp_path: Path) -> None:
    """`predict` with a model of objects with masks; a model of boxes has no masks."""
    publish_instances(tmp_path / "animals")
    image = root / "data" / "val" / "two.png"
    done = cvserve("predict", "animals", image, "--mask-format", "polygons", "--annotate", "drawn")
    assert done.returncode == 0, done.stderr
    [row] = [json.loads(line) for line in done.stdout.splitlines()]
    assert [set(item) for item in row["detections"]] == [{"label", "index", "score", "box", "mask"}] * 2
    done = cvserve("predict", "animals", image, "--mask-format", "none", "--annotate", "drawn without")
    assert [set(item) for item in json.loads(done.stdout)["detections"]] == [{"label", "index", "score", "box"}] * 2
    [drawn], [alike] = (list((tmp_path / folder).rglob("*.jpg")) for folder in ("drawn", "drawn without"))
    assert drawn.read_bytes() == alike.read_bytes(), "masks are drawn whether they are written or not"
    refused = {
        ("animals", "--masks", "m"): "--masks is for segmentation models; animals does detection",
        ("animals", "--format", "coco", "--mask-format", "png"): "COCO results have no masks as png; they hold run",
        (root / "model", "--mask-format", "rle"): "--mask-format is for segmentation models; model does detection",
    }
    for (model, *words), sentence in refused.items():
        done = cvserve("predict", model, image, *words)
        assert done.returncode == 2
        assert sentence in done.stderr
