"""Folders and files of COCO's JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cvserve.data import open_dataset
from cvserve.data.readers.coco_boxes import read_coco
from cvserve.errors import InvalidInput


def content(**changes: Any) -> dict[str, Any]:
    """Two images of 40 x 30; categories with sparse numbers, in no order; a crowd with run lengths."""
    return {
        "images": [
            {"id": 70, "file_name": "a.png", "width": 40, "height": 30},
            {"id": 12, "file_name": "b.png", "width": 40, "height": 30},
        ],
        "categories": [
            {"id": 90, "name": "dog", "supercategory": "animal"},
            {"id": 3, "name": "cat", "supercategory": "animal"},
        ],
        "annotations": [
            {"id": 1, "image_id": 12, "category_id": 90, "bbox": [1, 2, 10.5, 4], "area": 20.25, "iscrowd": 0},
            {
                "id": 2,
                "image_id": 70,
                "category_id": 3,
                "bbox": [0, 0, 40, 30],
                "segmentation": [[0, 0, 40, 0, 40, 30]],
            },
            {
                "id": 3,
                "image_id": 12,
                "category_id": 3,
                "bbox": [5, 5, 6, 6],
                "area": 0,
                "iscrowd": 1,
                "segmentation": {"counts": [0, 1200], "size": [30, 40]},
            },
        ],
    } | changes


def write(folder: Path, file: str, values: Any, images: str = ".", names: tuple[str, ...] = ("a.png", "b.png")) -> Path:
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    (folder / images).mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        image = np.random.default_rng(number).integers(0, 256, (30, 40, 3), np.uint8)
        cv2.imwrite(str(folder / images / name), image)
    return path


def test_numbers_areas_and_crowds(tmp_path: Path) -> None:
    write(tmp_path, "annotations.json", content())
    data = open_dataset(tmp_path, "all", task="detection")
    assert (data.classes, data.category_ids) == (("cat", "dog"), (3, 90))
    assert [data.image_id(index) for index in range(2)] == [70, 12]
    objects = data.objects(1)
    assert objects.boxes.tolist() == [[1, 2, 11.5, 6], [5, 5, 11, 11]]
    assert objects.labels.tolist() == [1, 0]
    assert objects.ignored.tolist() == [False, True]
    assert objects.areas.tolist() == [20.25, 36]
    assert data.objects(0).areas.tolist() == [1200]


@pytest.mark.parametrize(
    ("file", "images"),
    [
        ("annotations/instances_val2017.json", "val2017"),
        ("annotations/instances_val.json", "images/val"),
        ("annotations/val.json", "images"),
        ("annotations/instances_val.json", "."),
        ("valid/_annotations.coco.json", "valid"),
        ("val/annotations.json", "val/images"),
    ],
)
def test_layouts(tmp_path: Path, file: str, images: str) -> None:
    write(tmp_path, file, content(), images)
    val = open_dataset(tmp_path, "val", task="detection")
    assert val.split == "val"
    assert [val.image(index) for index in range(2)] == [tmp_path / images / name for name in ("a.png", "b.png")]
    assert val.verify() == ()


def test_val_takes_the_classes_of_train_by_name(tmp_path: Path) -> None:
    write(tmp_path, "annotations/instances_train.json", content(), "train")
    one = content(
        categories=[{"id": 8, "name": "dog"}],
        annotations=[{"id": 1, "image_id": 12, "category_id": 8, "bbox": [1, 2, 3, 4]}],
    )
    write(tmp_path, "annotations/instances_val.json", one, "val")
    val = open_dataset(tmp_path, "val", task="detection")
    assert (val.classes, val.category_ids) == (("cat", "dog"), (9, 8))
    assert val.objects(1).labels.tolist() == [1]


def test_the_parent_that_roboflow_adds_is_no_class(tmp_path: Path) -> None:
    categories = [
        {"id": 0, "name": "cells", "supercategory": "none"},
        {"id": 3, "name": "cat", "supercategory": "cells"},
        {"id": 90, "name": "dog", "supercategory": "cells"},
    ]
    path = write(tmp_path, "_annotations.coco.json", content(categories=categories))
    assert read_coco(path).classes == ("cat", "dog")


def test_texts_as_numbers_are_numbered_anew(tmp_path: Path) -> None:
    values = content(
        images=[{"id": "a", "file_name": "a.png"}],
        categories=[{"id": "c", "name": "cat"}],
        annotations=[{"image_id": "a", "category_id": "c", "bbox": [1, 2, 3, 4]}],
    )
    data = read_coco(write(tmp_path, "annotations.json", values))
    assert (data.image_id(0), data.category_ids, data.size(0)) == (1, (1,), None)


def test_bad_boxes_are_reported(tmp_path: Path) -> None:
    values = content()
    values["annotations"] += [
        {"id": 7, "image_id": 12, "category_id": 3, "bbox": [5, 5, 0, 4]},
        {"id": 8, "image_id": 12, "category_id": 3, "bbox": [math.nan, 5, 3, 4]},
        {"id": 11, "image_id": 12, "category_id": 3, "bbox": [5, 5, 10**400, 4]},
        {"id": 9, "image_id": 12, "category_id": 3, "bbox": []},
        {"id": 10, "image_id": 12, "category_id": 3, "bbox": [35, 5, 10, 10]},
    ]
    data = read_coco(write(tmp_path, "annotations.json", values))
    assert sorted(str(item).removeprefix("b.png: cat (annotations.json, ") for item in data.dropped) == [
        "annotation 11) [5, 5, inf, 9] is not finite",
        "annotation 7) [5, 5, 5, 9] is empty (0 x 4 pixels)",
        "annotation 8) [nan, 5, nan, 9] is not finite",
        "annotation 9) has no box",
    ]
    assert data.objects(1).boxes[-1].tolist() == [35, 5, 40, 15]
    assert len(data.clipped) == 1


def changed(key: str, number: int, **values: Any) -> dict[str, Any]:
    result = content()
    result[key][number] |= values
    return result


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ('{"images": [\n oops', r"annotations\.json, line 2: is not valid JSON"),
        ("[]", "is not a file of instances: it holds a list"),
        ({"images": []}, "it has no list 'annotations'"),
        (content(images=[{"id": 1}]), r"images\[0\] has no 'file_name'"),
        (changed("images", 1, id=70), "2 images have the id 70"),
        (changed("categories", 0, id=3), "2 categories have the id 3"),
        (changed("categories", 0, name="cat"), "2 categories have the name 'cat'"),
        (changed("annotations", 0, image_id=5), "annotation 1 is of image 5, which is not there"),
        (changed("annotations", 0, category_id=5), "annotation 1 is of category 5, which is not there"),
        (changed("annotations", 0, category_id=None), r"annotations\[0\] has no 'category_id'"),
        (changed("annotations", 0, bbox=[1, 2, 3]), r"annotation 1 has the bbox \[1, 2, 3\]"),
        (changed("annotations", 0, bbox=[1, 2, 3, "4"]), r"annotation 1 has the bbox"),
        (changed("images", 0, width=0), "image 70 has the size 0 x 30"),
        (content(categories=[], annotations=[]), "it has no categories"),
        (content(images=[], annotations=[]), "there are no images in all"),
        (changed("images", 0, file_name="x.png") | {"annotations": []}, None),
    ],
)
def test_files_that_contradict_themselves(tmp_path: Path, values: Any, sentence: str | None) -> None:
    path = write(tmp_path, "annotations.json", values)
    if sentence is None:  # One image that is missing is left to the pipeline.
        assert [bad.index for bad in read_coco(path).verify()] == [0]
        return
    with pytest.raises(InvalidInput, match=sentence):
        read_coco(path)


def test_a_class_that_the_model_does_not_know(tmp_path: Path) -> None:
    write(tmp_path, "annotations.json", content())
    with pytest.raises(InvalidInput, match=r"annotation 1 has an object of class 'dog'; the classes are cat, bird"):
        open_dataset(tmp_path, "all", task="detection", classes=["cat", "bird"])


def test_no_image_is_there(tmp_path: Path) -> None:
    path = write(tmp_path, "annotations.json", content(), names=())
    with pytest.raises(InvalidInput, match=r"not one of its 2 images is there; the first would be .*a\.png"):
        read_coco(path)


@pytest.mark.parametrize("split", ["train", "val"])
def test_coco_mini_as_pycocotools_reads_it(shared: Path, split: str) -> None:
    reader = pytest.importorskip("pycocotools.coco")
    reference = reader.COCO(str(shared / f"data/coco_mini/annotations/instances_{split}2017.json"))
    data = open_dataset(shared / "data/coco_mini", split, task="detection")
    assert len(data) == len(reference.imgs)
    assert len(data.classes) == 80
    assert data.category_ids[-1] == 90
    assert data.dropped == ()
    assert data.verify() == ()
    for index in range(len(data)):
        annotations = reference.loadAnns(reference.getAnnIds(imgIds=data.image_id(index)))
        objects = data.objects(index)
        assert [data.category_ids[label] for label in objects.labels] == [item["category_id"] for item in annotations]
        assert objects.ignored.tolist() == [bool(item["iscrowd"]) for item in annotations]
        np.testing.assert_allclose(objects.areas, [item["area"] for item in annotations], rtol=1e-6)
        boxes = np.array([item["bbox"] for item in annotations]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        np.testing.assert_allclose(objects.boxes, boxes, atol=1.0)
        assert objects.boxes.max(initial=0) <= max(data.size(index))
        assert data.name(index).endswith(reference.imgs[data.image_id(index)]["file_name"])
