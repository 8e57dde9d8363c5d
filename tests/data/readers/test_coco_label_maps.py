"""COCO's masks as label maps, against pycocotools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cvserve.data import Scenes, open_dataset, write_coco
from cvserve.errors import ImageError, InvalidInput

masks = pytest.importorskip("pycocotools.mask")

HEIGHT, WIDTH = 30, 40
BIG = [2.0, 2.0, 35.5, 3.0, 30.0, 25.0, 4.0, 20.0]
SMALL = [10.0, 8.0, 20.0, 8.0, 20.0, 16.0, 10.0, 16.0]
FAR = [36.0, 26.0, 60.0, 26.0, 60.0, 60.0]


def coco(root: Path, annotations: list[dict[str, Any]], categories: Any = None, **image: Any) -> Path:
    (root / "train").mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(root / "train" / "a.png"), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    categories = categories or {7: "cat", 3: "dog"}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": WIDTH, "height": HEIGHT} | image],
        "annotations": [{"id": 10 + n, "image_id": 1} | item for n, item in enumerate(annotations)],
        "categories": [{"id": number, "name": name} for number, name in categories.items()],
    }
    for side in ("train", "val"):
        (root / side).mkdir(exist_ok=True)
        (root / side / "_annotations.coco.json").write_text(json.dumps(content))
    return root


def open_(root: Path, split: str = "train", **options: Any):
    return open_dataset(root, split, task="segmentation", **options)


def filled(*polygons: list[float]) -> np.ndarray:
    return masks.decode(masks.merge(masks.frPyObjects(list(polygons), HEIGHT, WIDTH))).astype(bool)


def test_polygons_smaller_ones_in_front(tmp_path: Path) -> None:
    annotations = [
        {"category_id": 3, "segmentation": [SMALL, FAR], "area": 80.0},
        {"category_id": 7, "segmentation": [BIG], "area": 500.0},
    ]
    split = open_(coco(tmp_path, annotations))
    # In the order of the categories' numbers, after background.
    assert split.classes == ("background", "dog", "cat")
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[filled(BIG)] = 2
    expected[filled(SMALL, FAR)] = 1
    np.testing.assert_array_equal(split.mask(0), expected)
    assert set(np.unique(expected)) == {0, 1, 2}
    assert split.verify() == ()


@pytest.mark.parametrize("compressed", [False, True])
def test_run_lengths_and_crowds_behind(tmp_path: Path, compressed: bool) -> None:
    crowd = np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.5
    if compressed:
        segmentation = masks.encode(np.asfortranarray(crowd, np.uint8))
        segmentation["counts"] = segmentation["counts"].decode()
    else:
        flat = np.concatenate([[False], crowd.T.reshape(-1)])
        edges = np.flatnonzero(flat[1:] != flat[:-1])
        segmentation = {"size": [HEIGHT, WIDTH], "counts": np.diff([0, *edges.tolist(), crowd.size]).tolist()}
    annotations = [
        {"category_id": 3, "segmentation": segmentation, "area": 5.0, "iscrowd": 1},
        {"category_id": 7, "segmentation": [BIG], "area": 500.0, "iscrowd": 0},
    ]
    expected = np.where(crowd, 1, 0).astype(np.uint8)
    expected[filled(BIG)] = 2
    np.testing.assert_array_equal(open_(coco(tmp_path, annotations)).mask(0), expected)


def test_void_and_background_categories(tmp_path: Path) -> None:
    annotations = [
        {"category_id": 1, "segmentation": [BIG], "area": 500.0},
        {"category_id": 9, "segmentation": [SMALL], "area": 80.0},
    ]
    split = open_(coco(tmp_path, annotations, {5: "Background", 1: "dog", 9: "ignore"}))
    assert split.classes == ("Background", "dog")
    expected = filled(BIG).astype(np.uint8)
    expected[filled(SMALL)] = 255
    np.testing.assert_array_equal(split.mask(0), expected)


def test_the_order_of_a_model(tmp_path: Path) -> None:
    root = coco(tmp_path, [{"category_id": 7, "segmentation": [BIG], "area": 500.0}])
    split = open_(root, classes=("background", "bird", "cat", "dog"))
    np.testing.assert_array_equal(split.mask(0), 2 * filled(BIG))
    with pytest.raises(InvalidInput, match="annotation 10 has an object of class 'cat'; the classes are background, b"):
        open_(root, classes=("background", "bird"))


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        (None, "annotation 10 has no segmentation"),
        ([], "annotation 10 has no segmentation"),
        ([[1, 2, 3, 4]], "not lists of three or more points"),
        ([[1, 2, 3, 4, 5, 6, 7]], "not lists of three or more points"),
        ([[1, 2, 3, 4, "x", 6]], "not lists of three or more points"),
        ([[1, 2, 3, 4, 1e9, 6]], "reaches far out of the image"),
        ({"size": [HEIGHT, WIDTH], "counts": [3, 4]}, "run lengths of 7 pixels"),
        ({"size": [HEIGHT, WIDTH], "counts": "0123zz"}, "run lengths"),
        ({"size": [HEIGHT, WIDTH], "counts": ""}, "run lengths of 0 pixels"),
        ({"size": [WIDTH, HEIGHT], "counts": [HEIGHT * WIDTH]}, r"of the size \[40, 30\], not \[30, 40\]"),
        ({"size": [HEIGHT, WIDTH], "counts": [-1, HEIGHT * WIDTH + 1]}, "neither numbers nor a string"),
    ],
)
def test_masks_that_cannot_be_used(tmp_path: Path, segmentation: Any, reason: str) -> None:
    split = open_(coco(tmp_path, [{"category_id": 7, "segmentation": segmentation, "area": 1.0}]))
    with pytest.raises(
        ImageError, match=f"train/a.png: its mask train/_annotations.coco.json cannot be used: .*{reason}"
    ):
        split.mask(0)


def test_another_size_than_the_image(tmp_path: Path) -> None:
    split = open_(coco(tmp_path, [], width=WIDTH + 1))
    with pytest.raises(ImageError, match="states 41 x 30 pixels, but the image has 40 x 30"):
        split.mask(0)
    assert len(split.verify()) == 1


def test_scenes_written_as_coco(tmp_path: Path) -> None:
    """The generated class maps come back, whether the scenes were made for detection or segmentation."""
    scenes = Scenes(4, task="segmentation", split="val", image_size=64)
    split = open_(write_coco(scenes, tmp_path, ".png"), "val")
    assert split.classes == ("background", *scenes.classes[1:])
    for index in range(4):
        np.testing.assert_array_equal(split.mask(index), scenes.mask(index))
        np.testing.assert_array_equal(split.mask(index), scenes.scene(index).class_map)


def test_real_annotations(shared: Path) -> None:
    """Each pixel has the class of some object that covers it, or is covered by none."""
    coco_api = pytest.importorskip("pycocotools.coco")
    split = open_(shared / "data" / "coco_mini", "val")
    reference = coco_api.COCO(str(next((shared / "data" / "coco_mini" / "annotations").glob("*val*.json"))))
    for index, image_id in enumerate(list(reference.imgs)[:5]):
        labels = split.mask(index)
        covered = {0: np.ones(labels.shape, bool)}
        for item in reference.loadAnns(reference.getAnnIds(imgIds=image_id)):
            mask = reference.annToMask(item).astype(bool)
            label = split.classes.index(reference.cats[item["category_id"]]["name"])
            covered[label] = covered.get(label, False) | mask
            covered[0] = covered[0] & ~mask
        for label in np.unique(labels):
            assert covered[label][labels == label].all()
