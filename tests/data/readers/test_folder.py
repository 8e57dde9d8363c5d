"""Layouts are recognised, and splits are divided off where there are none."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from cvserve.artifact.specs import PreprocSpec
from cvserve.data import CaptionPipeline, SplitFractions, open_dataset
from cvserve.data.readers import folder
from cvserve.data.readers.base import FileSplit, Reader, SplitFiles
from cvserve.data.splits import content_position
from cvserve.errors import InvalidInput, NotFound
from cvserve.text import Tokenizer, learn_vocabulary

TOKENIZER = Tokenizer(learn_vocabulary(["number one"], min_count=1))


@pytest.fixture
def train_only(tmp_path: Path) -> Path:
    """60 images in train, of which every tenth has a box without area."""
    (tmp_path / "train").mkdir()
    images, annotations = [], []
    for number in range(60):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "train" / f"{number}.png"), pixels)
        images.append({"id": number + 100, "file_name": f"{number}.png", "width": 8, "height": 8})
        annotations.append({"id": number, "image_id": number + 100, "category_id": 1, "bbox": [1, 1, number % 10, 4]})
    values = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cat"}]}
    (tmp_path / "train" / "_annotations.coco.json").write_text(json.dumps(values))
    return tmp_path


def ids(data: object) -> set[int]:
    return {data.image_id(index) for index in range(len(data))}


class TestTrainOnly:
    def test_val_is_a_tenth_of_train_by_content(self, train_only: Path) -> None:
        train, val = (open_dataset(train_only, split, task="detection") for split in ("train", "val"))
        assert ids(train) | ids(val) == set(range(100, 160))
        assert not ids(train) & ids(val)
        expected = {n + 100 for n in range(60) if content_position(train_only / "train" / f"{n}.png") < 0.1}
        assert ids(val) == expected
        assert val.describe().endswith(
            f"{train_only} has no val: val is the {len(val)} of 60 images that the hash of their contents puts there"
        )

    def test_problems_stay_with_their_images(self, train_only: Path) -> None:
        train, val = (open_dataset(train_only, split, task="detection") for split in ("train", "val"))
        assert len(train.dropped) + len(val.dropped) == 6
        assert all(item.image in {val.name(index) for index in range(len(val))} for item in val.dropped)

    def test_fractions(self, train_only: Path) -> None:
        fractions = SplitFractions(train=0.5, val=0.5, test=0.0)
        assert 15 < len(open_dataset(train_only, "val", task="detection", fractions=fractions)) < 45

    def test_there_is_no_test(self, train_only: Path) -> None:
        with pytest.raises(NotFound, match="there is no split 'test'; it has train"):
            open_dataset(train_only, "test", task="detection")


def test_one_piece_is_divided_into_three(train_only: Path) -> None:
    for path in (train_only / "train").iterdir():
        path.rename(train_only / path.name)
    (train_only / "train").rmdir()
    splits = [ids(open_dataset(train_only, split, task="detection")) for split in ("train", "val", "test")]
    assert sum(map(len, splits)) == len(set.union(*splits)) == 60
    assert ids(open_dataset(train_only, "all", task="detection")) == set(range(100, 160))
    with pytest.raises(NotFound, match="there is no split 'dev'; it has train, val, test, all"):
        open_dataset(train_only, "dev", task="detection")


def test_no_layout_fits(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        open_dataset(tmp_path, task="detection")
    assert str(caught.value) == (
        f"{tmp_path}: no data set for detection was found; looked for Annotations/*.xml beside JPEGImages/ (Pascal "
        "VOC), or *.xml beside the images of train/ and val/; annotations/instances_{train,val}*.json, "
        "annotations.json beside the images, or _annotations.coco.json in train/ and val/ (COCO); data.yaml, or "
        "images/<split>/ and labels/<split>/ with *.txt (YOLO)"
    )


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no such folder"):
        open_dataset(tmp_path / "x", task="detection")
    (tmp_path / "x").write_text("")
    with pytest.raises(InvalidInput, match="x is a file"):
        open_dataset(tmp_path / "x", task="detection")


@dataclass(frozen=True)
class Line:
    """An image of the toy data set below."""

    path: Path
    name: str
    caption: str


class Captions(FileSplit[Line]):
    """What the toy reader gives for captioning."""

    def captions(self, index: int) -> tuple[str, ...]:
        return (self.images[index].caption,)


def recognise_toy(root: Path, classes: object) -> SplitFiles[Captions] | None:
    """Reads toy.txt: a line "name caption" for each image."""
    listed = root / "toy.txt"
    if not listed.is_file():
        return None

    def read(split: str) -> Captions:
        rows = [line.split(" ", 1) for line in listed.read_text().splitlines()]
        images = tuple(Line(root / name, name, caption) for name, caption in rows)
        return Captions(origin=str(root), split=split, images=images)

    return SplitFiles(root, ("all",), read)


def test_a_reader_from_outside_is_one_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(task="captioning", looked_for="toy.txt", recognise=recognise_toy)
    monkeypatch.setattr(folder, "READERS", [*folder.READERS, reader])
    with pytest.raises(InvalidInput, match=r"looked for captions_.*; toy\.txt$"):
        open_dataset(tmp_path, task="captioning")
    for number in range(40):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((8, 8, 3), number, np.uint8))
    (tmp_path / "toy.txt").write_text("".join(f"{number}.png number {number}\n" for number in range(40)))
    splits = [open_dataset(tmp_path, split, task="captioning") for split in ("train", "val", "test")]
    assert sorted(split.name(index) for split in splits for index in range(len(split))) == sorted(
        f"{number}.png" for number in range(40)
    )
    pipeline = CaptionPipeline(splits[0], PreprocSpec(height=8, width=8), TOKENIZER, batch_size=len(splits[0]))
    ((indices, (images, _)),) = pipeline.indexed()
    assert [f"number {images[row, 0, 0, 0]}" for row in range(len(images))] == [
        splits[0].captions(index)[0] for index in indices.tolist()
    ]


def test_a_task_without_readers(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no reader opens folders for the task 'poses'; there are readers for cap"):
        open_dataset(tmp_path, task="poses")
