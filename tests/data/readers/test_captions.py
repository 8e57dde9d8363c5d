"""Folders of images with captions: COCO's JSON, Flickr's token files, CSV."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cvserve.data import CaptionedSplit, SplitFractions, open_dataset
from cvserve.errors import InvalidInput, NotFound


def image(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    cv2.imwrite(str(path), pixels)
    return path


def coco(path: Path, *names: str, first_id: int = 7, **changes: Any) -> Path:
    """Two captions an image; the numbers of images count down."""
    ids = {name: first_id + len(names) - place for place, name in enumerate(names)}
    content = {
        "images": [{"id": number, "file_name": name} for name, number in ids.items()],
        "annotations": [
            {"image_id": number, "id": 0, "caption": f"{which} of {name[0]}\n"}
            for which in ("One", "Two")
            for name, number in ids.items()
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content | changes), encoding="utf-8")
    return path


def opened(root: Path, split: str = "train", **options: Any) -> CaptionedSplit:
    return open_dataset(root, split, task="captioning", **options)


def captions_by_name(split: CaptionedSplit) -> dict[str, tuple[str, ...]]:
    return {split.name(index): split.captions(index) for index in range(len(split))}


@pytest.mark.parametrize(
    ("file", "folder"),
    [
        ("captions_train.json", "images"),
        ("captions_train.json", "train"),
        ("captions_train2017.json", "train2017"),
        ("annotations/captions_train2017.json", "train2017"),
        ("annotations/captions_train2014.json", "images/train2014"),
        ("captions_train.json", "."),
    ],
)
def test_layouts_of_coco(tmp_path: Path, file: str, folder: str) -> None:
    for name in ("a.png", "b.png"):
        image(tmp_path / folder / name)
    coco(tmp_path / file, "a.png", "b.png")
    coco(tmp_path / file.replace("train", "val"), "b.png")
    image(tmp_path / folder.replace("train", "val") / "b.png")
    train = opened(tmp_path)
    prefix = "" if folder == "." else f"{folder}/"
    assert captions_by_name(train) == {
        f"{prefix}a.png": ("One of a", "Two of a"),
        f"{prefix}b.png": ("One of b", "Two of b"),
    }
    assert [train.image_id(index) for index in range(2)] == [9, 8]
    assert Path(train.image(1)) == tmp_path / folder / "b.png"
    assert [*captions_by_name(opened(tmp_path, "val"))] == [f"{prefix.replace('train', 'val')}b.png"]
    assert train.dropped == ()
    assert train.describe() == f"{tmp_path} train: 2 images with 4 captions"
    with pytest.raises(NotFound, match="no split 'test'; it has train, val"):
        opened(tmp_path, "test")


def test_one_file_is_divided_by_contents(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(60)]
    for seed, name in enumerate(names):
        image(tmp_path / "images" / name, seed)
    coco(tmp_path / "captions.json", *names)
    sides = {side: set(captions_by_name(opened(tmp_path, side))) for side in ("train", "val", "test", "all")}
    assert len(sides["all"]) == 60
    assert sides["train"] | sides["val"] | sides["test"] == sides["all"]
    assert len(sides["train"]) + len(sides["val"]) + len(sides["test"]) == 60
    assert "60 images" in opened(tmp_path, "val").note
    halves = SplitFractions(train=0.5, val=0.5, test=0)
    assert len(opened(tmp_path, "val", fractions=halves)) > len(sides["val"])


def test_broken_entries_are_reported_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.png", "c.png"):
        image(tmp_path / "images" / name)
    path = coco(tmp_path / "captions_train.json", "a.png", "b.png", "c.png")
    content = json.loads(path.read_text())
    content["images"] += [{"id": 1}, {"id": 10, "file_name": "d.png"}, "x", {"id": 99, "file_name": "e.png"}]
    content["annotations"] = [item for item in content["annotations"] if item["image_id"] != 8]
    content["annotations"] += [
        {"image_id": 5, "caption": "of nothing"},
        {"image_id": 10, "caption": " ... "},
        {"image_id": 10},
        {"image_id": 10, "caption": "Ba  hình\tvuông 三"},
    ]
    path.write_text(json.dumps(content), encoding="utf-8")
    with caplog.at_level(logging.WARNING, "cvserve.data.readers.captioned"):
        train = opened(tmp_path)
    assert captions_by_name(train) == {"images/a.png": ("One of a", "Two of a", "Ba hình vuông 三")}
    assert list(map(str, train.dropped)) == [
        "captions_train.json: images[3] has no id or no file_name",
        "captions_train.json: images[4] is there twice (10, d.png)",
        "captions_train.json: images[5] has no id or no file_name",
        "captions_train.json: annotations[4] is of image 5, which is not there",
        "a.png: annotations[5] has no words",
        "a.png: annotations[6] has no words",
        "images/b.png: there is no such image",
        "images/c.png: has no caption",
        "images/e.png: has no caption",
    ]
    assert "9 captions or images are left out: captions_train.json: images[3]" in caplog.text
    assert "; 9 captions or images left out; " in train.describe()
    assert len(train.without([0])) == 0


FLICKR = """a.jpg#0\tA dog runs .
a.jpg#1\tTwo "dogs" | one cat .
b.jpg#0\tA cat .
this line is broken
gone.jpg.1#0\tNobody has this image .
a.jpg#2\t .
"""


def test_token_files_of_flickr(tmp_path: Path) -> None:
    (tmp_path / "Flickr8k.token.txt").write_text(FLICKR, encoding="utf-8")
    (tmp_path / "Flickr8k.lemma.token.txt").write_text("a.jpg#0\tdog run\n", encoding="utf-8")
    for name in ("a.jpg", "b.jpg"):
        image(tmp_path / "Flicker8k_Dataset" / name)
    whole = opened(tmp_path, "all")
    assert captions_by_name(whole) == {
        "Flicker8k_Dataset/a.jpg": ("A dog runs .", 'Two "dogs" | one cat .'),
        "Flicker8k_Dataset/b.jpg": ("A cat .",),
    }
    assert [whole.image_id(index) for index in range(2)] == [1, 2]
    assert list(map(str, whole.dropped)) == [
        "Flickr8k.token.txt: line 4 is not image#number, a tab and a caption",
        "Flickr8k.token.txt: line 6 has no words",
        "Flicker8k_Dataset/gone.jpg.1: there is no such image",
    ]
    (tmp_path / "Flickr_8k.trainImages.txt").write_text("b.jpg\n\n", encoding="utf-8")
    (tmp_path / "Flickr_8k.devImages.txt").write_text("a.jpg\nc.jpg\n", encoding="utf-8")
    assert list(captions_by_name(opened(tmp_path))) == ["Flicker8k_Dataset/b.jpg"]
    assert list(captions_by_name(opened(tmp_path, "val"))) == ["Flicker8k_Dataset/a.jpg"]
    assert str(opened(tmp_path, "val").dropped[-1]) == "Flicker8k_Dataset/c.jpg: has no caption"


def test_results_csv_of_flickr30k(tmp_path: Path) -> None:
    rows = ["image_name| comment_number| comment", '1000.jpg| 0| A "boy , a girl .', "1000.jpg| 1| Odd | but true"]
    rows += ["2199.jpg| 4   A dog runs across the grass .", "36.jpg| 0| A man"]
    (tmp_path / "results.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    for name in ("1000.jpg", "36.jpg"):
        image(tmp_path / "flickr30k_images" / name)
    whole = opened(tmp_path, "all")
    assert captions_by_name(whole) == {
        "flickr30k_images/1000.jpg": ('A "boy , a girl .', "Odd | but true"),
        "flickr30k_images/36.jpg": ("A man",),
    }
    assert [whole.image_id(index) for index in range(2)] == [1000, 36]
    assert list(map(str, whole.dropped)) == ["results.csv: line 4 has 2 cells, not 3"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("captions.csv", 'image,caption\na.png,"A dog, running"\na.png,Một con chó\n'),
        ("captions.txt", "image,caption\na.png,A dog, running\na.png,Một con chó\n"),
        ("captions.csv", "\ufeffcaption;file_name\r\nA dog, running;a.png\r\nMột con chó;a.png\r\n"),
        ("captions.csv", "split\tFile_Name\tText\nx\ta.png\tA dog, running\nx\ta.png\tMột con chó\n"),
        ("captions.csv", "Picture|Sentence\na.png|A dog, running\na.png|Một con chó\n"),
    ],
)
def test_csv(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    image(tmp_path / "images" / "a.png")
    assert captions_by_name(opened(tmp_path, "all")) == {"images/a.png": ("A dog, running", "Một con chó")}


def test_csv_by_splits(tmp_path: Path) -> None:
    for side, name in (("train", "a.png"), ("valid", "b.png")):
        image(tmp_path / "images" / name)
        (tmp_path / f"captions_{side}.csv").write_text(f"image,caption\n{name},of {side}\n")
    assert captions_by_name(opened(tmp_path)) == {"images/a.png": ("of train",)}
    assert captions_by_name(opened(tmp_path, "val")) == {"images/b.png": ("of valid",)}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("captions_train.json", "{", "is not valid JSON"),
        ("captions_train.json", "[]", "is not a file of captions: it has no list 'images'"),
        ("captions_train.json", '{"images": []}', "no list 'annotations'"),
        ("captions_train.json", '{"images": [], "annotations": []}', "not one image with a caption is there"),
        ("captions_train.csv", "a,b\n", "its first line is 'a,b', where columns such as image and caption belong"),
        ("captions_train.csv", "", "its first line is ''"),
        (
            "captions_train.csv",
            "image,caption\nx.png,A dog\n",
            "not one image .*; the first: x.png: there is no such",
        ),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InvalidInput, match=message) as caught:
        opened(tmp_path)
    assert str(tmp_path / name) in str(caught.value)


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such folder"):
        opened(tmp_path / "none")
    with pytest.raises(InvalidInput, match=r"no data set for captioning was found; looked for .*COCO.*Flickr8k"):
        opened(tmp_path)
    (tmp_path / "captions.csv").write_bytes(b"image,caption\na.png,caf\xe9\n")
    with pytest.raises(InvalidInput, match="is not UTF-8: byte 23 is 0xe9"):
        opened(tmp_path, "all")
    with pytest.raises(InvalidInput, match="is a file"):
        opened(tmp_path / "captions.csv")


def test_the_shared_set(shared: Path) -> None:
    root = shared / "data" / "coco_captions"
    for split, images, captions in (("train", 311, 1556), ("val", 79, 395)):
        found = opened(root, split)
        assert len(found) == images
        assert sum(len(found.captions(index)) for index in range(len(found))) == captions
        assert found.dropped == ()
        assert found.verify() == ()
        assert all(found.name(index).endswith(f"{found.image_id(index):012d}.jpg") for index in range(len(found)))


def test_scenes_have_their_sentences() -> None:
    scenes = open_dataset("scenes:captioning?count=4&image_size=32", task="captioning", classes=())
    assert [scenes.captions(index) for index in range(4)] == [scenes.scene(index).sentences for index in range(4)]
