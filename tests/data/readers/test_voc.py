"""Folders in the layout of Pascal VOC."""

from __future__ import annotations

import logging
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from cvserve.data import open_dataset
from cvserve.data.readers.voc_xml import read_voc
from cvserve.errors import InvalidInput, NotFound

OBJECT = """  <object>
    <name>{name}</name>
    <difficult>{difficult}</difficult>
    <truncated>1</truncated>
    <bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox>
  </object>
"""


def xml(*objects: tuple[str, tuple[float, ...], int], size: tuple[int, int] | None = (40, 30)) -> str:
    head = "" if size is None else f"  <size><width>{size[0]}</width><height>{size[1]}</height></size>\n"
    body = "".join(OBJECT.format(name=name, box=box, difficult=difficult) for name, box, difficult in objects)
    return f"<annotation>\n  <filename>whatever.jpg</filename>\n{head}{body}</annotation>\n"


def write_image(path: Path, size: tuple[int, int] = (40, 30), seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three images: two in train, of which one has a difficult dog, and one in val."""
    texts = {
        "a.1": xml(("cat", (1, 1, 40, 30), 0), ("dog", (3, 4, 10, 12), 1)),
        "b": xml(("dog", (5, 5, 9, 9), 0)),
        "c": xml(("cat", (2, 2, 8, 8), 0)),
    }
    for number, (stem, text) in enumerate(texts.items()):
        write_image(tmp_path / "JPEGImages" / f"{stem}.png", seed=number)
        (tmp_path / "Annotations").mkdir(exist_ok=True)
        (tmp_path / "Annotations" / f"{stem}.xml").write_text(text)
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("b\na.1\n\n")
    (lists / "val.txt").write_text("c 1\n")
    return tmp_path


class TestFolder:
    def test_lists_decide_splits_and_order(self, root: Path) -> None:
        train, val = (open_dataset(root, split, task="detection") for split in ("train", "val"))
        assert [train.name(index) for index in range(len(train))] == ["JPEGImages/b.png", "JPEGImages/a.1.png"]
        assert [val.name(index) for index in range(len(val))] == ["JPEGImages/c.png"]
        assert train.classes == val.classes == ("cat", "dog")
        assert train.category_ids == (1, 2)
        assert [train.image_id(index) for index in range(2)] == [1, 2]
        assert (
            train.describe() == f"{root} train: 2 images with 3 objects in 2 classes (cat 1, dog 2); 1 objects ignored"
        )

    def test_boxes_are_edges_and_difficult_objects_are_ignored(self, root: Path) -> None:
        objects = open_dataset(root, "train", task="detection").objects(1)
        assert objects.boxes.tolist() == [[0, 0, 40, 30], [2, 3, 10, 12]]
        assert objects.labels.tolist() == [0, 1]
        assert objects.ignored.tolist() == [False, True]
        assert objects.areas.tolist() == [1200, 72]

    def test_without_lists_it_is_in_one_piece(self, root: Path) -> None:
        for path in (root / "ImageSets" / "Main").iterdir():
            path.unlink()
        assert len(open_dataset(root, "all", task="detection")) == 3

    def test_xml_beside_the_images_of_each_split(self, tmp_path: Path) -> None:
        for side in ("train", "valid"):
            write_image(tmp_path / side / "x.jpg")
            (tmp_path / side / "x.xml").write_text(xml(("cat", (1, 1, 9, 9), 0)))
        write_image(tmp_path / "train" / "lonely.jpg")
        val = open_dataset(tmp_path, "val", task="detection")
        assert (val.name(0), val.classes) == ("valid/x.jpg", ("cat",))
        assert (
            open_dataset(tmp_path, "train", task="detection")
            .describe()
            .endswith("1 images without an annotation file are not used")
        )

    def test_classes_of_a_model(self, root: Path) -> None:
        val = open_dataset(root, "val", task="detection", classes=["dog", "bird", "cat"])
        assert val.objects(0).labels.tolist() == [2]
        with pytest.raises(InvalidInput, match=r"c\.xml, line 4 has an object of class 'cat'; the classes are dog"):
            open_dataset(root, "val", task="detection", classes=["dog"])

    def test_bad_boxes_are_reported_by_file_and_line(self, root: Path, caplog: pytest.LogCaptureFixture) -> None:
        text = xml(("cat", (7, 7, 7, 7), 0), ("cat", (1, 1, 5, 5), 0), ("dog", (30, 5, 46, 9), 0))
        (root / "Annotations" / "b.xml").write_text(text)
        with caplog.at_level(logging.WARNING):
            train = open_dataset(root, "train", task="detection")
        assert train.objects(0).boxes.tolist() == [[0, 0, 5, 5], [29, 4, 40, 9]]
        assert [str(item) for item in train.dropped] == [
            "JPEGImages/b.png: cat (b.xml, line 4) [7, 7, 7, 7] is empty (0 x 0 pixels)"
        ]
        assert len(train.clipped) == 1
        assert train.describe().endswith("1 objects ignored; 1 boxes left out; 1 boxes clipped")
        (record,) = caplog.records
        assert "1 boxes are left out: JPEGImages/b.png" in record.getMessage()

    def test_a_size_that_is_not_stated_is_read_from_the_image(self, root: Path) -> None:
        (root / "Annotations" / "c.xml").write_text(xml(("cat", (30, 20, 50, 28), 0), size=(0, 0)))
        val = open_dataset(root, "val", task="detection")
        assert val.size(0) == (40, 30)
        assert val.objects(0).boxes.tolist() == [[29, 19, 40, 28]]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("<annotation>\n<object>", r"c\.xml, line 2: is not well-formed XML \(no element found\)"),
        ("", r"c\.xml, line 1: is not well-formed XML"),
        ("<html/>", r"c\.xml: its root is <html>"),
        ('<!DOCTYPE a [<!ENTITY b "b">]><annotation>&b;</annotation>', "declares a document type"),
        ("<annotation>" * 70, "nested more than 64 deep"),
        (xml(("", (1, 1, 2, 2), 0)), r"c\.xml, line 4: the object has no name"),
        (xml(("cat", ("x", 1, 2, 2), 0)), r"c\.xml, line 4: bndbox/xmin must be a number, not 'x'"),
        ("<annotation><object><name>cat</name></object></annotation>", "line 1: the object 'cat' has no bndbox"),
        ("<annotation><size><width>nan</width><height>3</height></size></annotation>", "size/width must be a finite"),
    ],
)
def test_other_files_are_refused(root: Path, text: str, sentence: str) -> None:
    (root / "Annotations" / "c.xml").write_text(text)
    with pytest.raises(InvalidInput, match=sentence):
        open_dataset(root, "val", task="detection")


def test_entities_never_grow(tmp_path: Path) -> None:
    """A billion laughs: refused at its first line, before anything is expanded."""
    lines = ['<!ENTITY e0 "ha">', *(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))]
    path = tmp_path / "bomb.xml"
    path.write_text(f"<!DOCTYPE annotation [{''.join(lines)}]><annotation><filename>&e11;</filename></annotation>")
    with pytest.raises(InvalidInput, match="declares a document type"):
        read_voc(path)


def test_nan_is_a_box_that_is_dropped(root: Path) -> None:
    (root / "Annotations" / "c.xml").write_text(xml(("cat", ("nan", 1, 5, 5), 0), ("cat", (1, 1, 5, 5), 0)))
    val = open_dataset(root, "val", task="detection")
    assert [item.reason for item in val.dropped] == ["is not finite"]
    assert len(val.objects(0)) == 1


class TestMissing:
    def test_an_annotation_of_the_list(self, root: Path) -> None:
        (root / "Annotations" / "c.xml").unlink()
        with pytest.raises(InvalidInput, match=r"val\.txt, entry 1: there is no annotation .*c\.xml"):
            open_dataset(root, "val", task="detection")

    def test_all_images(self, root: Path) -> None:
        (root / "JPEGImages" / "c.png").unlink()
        with pytest.raises(InvalidInput, match=r"not one of its 1 images is there; the first would be .*whatever\.jpg"):
            open_dataset(root, "val", task="detection")

    def test_one_image_is_left_to_the_pipeline(self, root: Path) -> None:
        (root / "JPEGImages" / "b.png").unlink()
        (bad,) = open_dataset(root, "train", task="detection").verify()
        assert (bad.index, bad.reason) == (0, "no such file")

    def test_a_split(self, root: Path) -> None:
        with pytest.raises(NotFound, match="there is no split 'test'; it has train, val"):
            open_dataset(root, "test", task="detection")


def test_bccd(shared: Path) -> None:
    """Against the XML as ElementTree reads it; the two boxes without area are those that the data set's page names."""
    root, keys = shared / "data/bccd", ("xmin", "ymin", "xmax", "ymax")
    numbers, dropped = {}, []
    for split in ("train", "val", "test"):
        data = open_dataset(root, split, task="detection")
        numbers[split] = len(data)
        dropped += data.dropped
        assert data.classes == ("Platelets", "RBC", "WBC")
        for index in range(len(data)):
            tree = ElementTree.parse(root / "Annotations" / f"{data.image(index).stem}.xml")
            expected = [
                (
                    item.findtext("name"),
                    [float(item.findtext(f"bndbox/{key}")) for key in keys],
                )
                for item in tree.iter("object")
            ]
            expected = [(name, [x1 - 1, y1 - 1, x2, y2]) for name, (x1, y1, x2, y2) in expected if x2 > x1 and y2 > y1]
            objects = data.objects(index)
            assert [data.classes[label] for label in objects.labels] == [name for name, _ in expected]
            assert objects.boxes.tolist() == [box for _, box in expected]
    assert numbers == {"train": 205, "val": 87, "test": 72}
    assert sorted(item.image for item in dropped) == [
        "JPEGImages/BloodImage_00338.jpg",
        "JPEGImages/BloodImage_00343.jpg",
    ]
