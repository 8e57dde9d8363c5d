"""`cvserve predict` and `cvserve inspect` with a segmentation model, as a person or a script runs them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_artifact import publish_tiny
from tiny_segmenter import publish_colors


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model/, classifier/ and photos/."""
    root = tmp_path_factory.mktemp("regions")
    publish_colors(root / "model")
    publish_tiny(root / "classifier")
    (root / "photos").mkdir()
    image = np.full((48, 64, 3), 10, np.uint8)
    image[:, :16, 0] = 200
    image[:, 16:, 2] = 200
    cv2.imwrite(str(root / "photos" / "a.png"), image[..., ::-1])
    return root


def test_predict(cvserve, root: Path, tmp_path: Path) -> None:
    done = cvserve("predict", root / "model", root / "photos", "--mask-format", "rle", "--annotate", "out")
    assert done.returncode == 0, done.stderr
    [blue, red] = json.loads(done.stdout)["segmentation"]["classes"]
    assert (blue["label"], blue["coverage"], red["coverage"]) == ("blue", 0.75, 0.25)
    assert blue["mask"]["size"] == [48, 64]
    assert (tmp_path / "out" / "a.png.jpg").is_file()
    done = cvserve("predict", root / "model", root / "photos", "--out", "r.csv", "--masks", "masks")
    assert done.returncode == 0, done.stderr
    assert [line.split(",")[8] for line in (tmp_path / "r.csv").read_text().splitlines()] == ["label", "blue", "red"]
    written = cv2.imread(str(tmp_path / "masks" / "a.png.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(written, np.where(np.arange(64) < 16, 0, 2)[None].repeat(48, axis=0))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["model", "photos", "--out", "r.csv", "--mask-format", "rle"], "CSV has no masks as rle"),
        (["model", "photos", "--mask-format", "gif"], "invalid choice: 'gif'"),
        (["model", "photos", "--masks", "PHOTOS"], "where new images are written; give another folder"),
        (
            ["classifier", "photos", "--masks", "m"],
            "--masks is for segmentation models; classifier does class",
        ),
        (["classifier", "photos", "--mask-format", "png"], "--mask-format is for segmentation models"),
        (
            ["model", "photos", "--out", "r.json", "--format", "coco"],
            "COCO results are of captioning and detection models",
        ),
    ],
)
def test_a_wrong_use_is_one_sentence(cvserve, root: Path, tmp_path: Path, words: list, sentence: str) -> None:
    folders = {"model", "photos", "classifier"}
    given = [root / word if word in folders else root / "photos" if word == "PHOTOS" else word for word in words]
    done = cvserve("predict", *given)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_inspect(cvserve, root: Path) -> None:
    done = cvserve("inspect", root / "model")
    assert done.returncode == 0, done.stderr
    assert "segmentation" in done.stdout
    assert "class_map (class_map, uint8), confidence (confidence, float32)" in done.stdout
