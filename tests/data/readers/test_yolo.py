"""Folders as YOLO's tools take them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from cvserve.data import open_dataset
from cvserve.errors import InvalidInput

YAML = "names: [cat, dog]\ntrain: images/train\nval: images/val\n"


def put(root: Path, place: str, label: str | None = None, size: tuple[int, int] = (40, 20)) -> None:
    """An image images/<place>.png, and its labels/<place>.txt."""
    image, text = root / "images" / f"{place}.png", root / "labels" / f"{place}.txt"
    for path in (image, text):
        path.parent.mkdir(parents=True, exist_ok=True)
    seed = sum(map(ord, place))
    cv2.imwrite(str(image), np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8))
    if label is not None:
        text.write_text(label)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    put(tmp_path, "train/a", "1 0.5 0.5 0.5 0.5\n\n0 0.25 0.5 0.1 0.2\n")
    put(tmp_path, "train/b")
    put(tmp_path, "val/c", "0 0.1 0.1 0.5 0.2 0.3 0.9\n")
    (tmp_path / "data.yaml").write_text(YAML)
    return tmp_path


def test_lines_become_pixels(root: Path) -> None:
    train = open_dataset(root, "train", task="detection")
    assert train.classes == ("cat", "dog")
    assert [train.name(index) for index in range(2)] == ["images/train/a.png", "images/train/b.png"]
    np.testing.assert_allclose(train.objects(0).boxes, [[10, 5, 30, 15], [8, 8, 12, 12]], rtol=1e-6)
    assert train.objects(0).labels.tolist() == [1, 0]
    assert len(train.objects(1)) == 0
    assert train.describe().endswith("1 images have no file of labels and count as empty")


def test_polygons_become_their_boxes(root: Path) -> None:
    np.testing.assert_allclose(
        open_dataset(root, "val", task="detection").objects(0).boxes, [[4, 2, 20, 18]], rtol=1e-6
    )


@pytest.mark.parametrize(
    "text",
    [
        "path: .\nnames: {0: cat, 1: dog}\ntrain: images/train\nval: images/val\n",
        "path: /home/someone/datasets/pets\nnames: [cat, dog]\ntrain: ../images/train\nvalid: [./images/val]\n",
        "names: [cat, dog]\ntrain: train.txt\nval: images/val\nnc: 2\n",
    ],
)
def test_ways_to_name_the_splits(root: Path, text: str) -> None:
    (root / "data.yaml").write_text(text)
    (root / "train.txt").write_text("images/train/a.png\n./images/train/b.png\n")
    assert len(open_dataset(root, "train", task="detection")) == 2
    assert open_dataset(root, "val", task="detection").objects(0).labels.tolist() == [0]


def test_without_a_description(root: Path) -> None:
    (root / "data.yaml").unlink()
    assert open_dataset(root, "train", task="detection").classes == ("0", "1")
    (root / "classes.txt").write_text("cat\ndog\n")
    assert open_dataset(root, "val", task="detection").classes == ("cat", "dog")


def test_splits_above_images_and_labels(tmp_path: Path) -> None:
    put(tmp_path / "train", "a", "0 0.5 0.5 0.5 0.5")
    put(tmp_path / "valid", "b", "0 0.5 0.5 0.5 0.5")
    (tmp_path / "classes.txt").write_text("cat\n")
    assert open_dataset(tmp_path, "val", task="detection").name(0) == "valid/images/b.png"


def test_the_classes_of_a_model_are_matched_by_name(root: Path) -> None:
    train = open_dataset(root, "train", task="detection", classes=["dog", "bird", "cat"])
    assert train.objects(0).labels.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("0 0.5 0.5 0.5", r"c\.txt, line 2: a class and 3 numbers"),
        ("0 0.5 0.5 0.5 0.5 0.9", r"c\.txt, line 2: a class and 5 numbers"),
        ("cat 0.5 0.5 0.5 0.5", r"c\.txt, line 2: 'cat 0.5 0.5 0.5 0.5' is not made of numbers"),
        ("0.5 0.5 0.5 0.5 0.5", r"c\.txt, line 2: 0.5 is not the number of a class"),
        ("inf 0.5 0.5 0.5 0.5", r"c\.txt, line 2: inf is not the number of a class"),
        ("-1 0.5 0.5 0.5 0.5", r"c\.txt, line 2: -1 is not the number of a class"),
        ("2 0.5 0.5 0.5 0.5", r"c\.txt, line 2: class 2 is not one of the 2 classes \(cat, dog\)"),
    ],
)
def test_malformed_lines(root: Path, line: str, sentence: str) -> None:
    (root / "labels/val/c.txt").write_text(f"0 0.5 0.5 0.5 0.5\n{line}\n")
    with pytest.raises(InvalidInput, match=sentence):
        open_dataset(root, "val", task="detection")


def test_bad_boxes_are_reported(root: Path) -> None:
    (root / "labels/val/c.txt").write_text("0 0.5 0.5 0 0.5\n0 nan 0.5 0.5 0.5\n0 300 200 50 20\n1 0.9 0.5 0.4 0.5\n")
    val = open_dataset(root, "val", task="detection")
    assert [(item.what.split(" [")[0], item.reason.split(" (")[0]) for item in val.dropped] == [
        ("cat (c.txt, line 1)", "is empty"),
        ("cat (c.txt, line 2)", "is not finite"),
        ("cat (c.txt, line 3)", "lies outside of its image of 40 x 20 pixels"),
    ]
    np.testing.assert_allclose(val.objects(0).boxes, [[28, 5, 40, 15]], rtol=1e-6)
    assert len(val.clipped) == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("names: [cat\n", r"data\.yaml, line 2: is not valid YAML"),
        ("train: images/train\n", "it has no names of classes"),
        ("names: {1: cat, 2: dog}\ntrain: images/train\n", "names must be numbered from 0 without gaps, not 1, 2"),
        ("names: cat\ntrain: images/train\n", "names must be a list of classes, not 'cat'"),
        ("names: [cat, cat]\ntrain: images/train\n", "the class 'cat' is named twice"),
        ("names: [cat]\n", "it has neither train nor val nor test"),
        ("names: [cat]\ntrain: photos\n", r"data\.yaml: train is photos, but .*photos is not there"),
    ],
)
def test_wrong_descriptions(root: Path, text: str, sentence: str) -> None:
    (root / "data.yaml").write_text(text)
    with pytest.raises(InvalidInput, match=sentence):
        open_dataset(root, "train", task="detection")


def test_not_one_file_of_labels(root: Path) -> None:
    (root / "labels/val/c.txt").unlink()
    with pytest.raises(InvalidInput, match=r"not one of the 1 images of val has a file of labels; .*val/c\.txt"):
        open_dataset(root, "val", task="detection")
