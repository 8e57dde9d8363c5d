"""Files that cannot be read: found by their headers, and reported in one sentence."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from cvserve.data import BadImage, ImageFolder, Scenes, SplitFractions, verify
from cvserve.data.problems import summary


@pytest.fixture
def folder(tmp_path: Path) -> ImageFolder:
    for name in ("train/a/good.png", "train/b/good.jpg", "train/b/large.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        side = 70 if "large" in name else 8
        cv2.imwrite(str(tmp_path / name), np.zeros((side, side, 3), np.uint8))
    (tmp_path / "train/a/empty.jpg").write_bytes(b"")
    (tmp_path / "train/a/page.jpg").write_bytes(b"<!DOCTYPE html><html>not found</html>")
    (tmp_path / "train/b/gone.png").symlink_to(tmp_path / "nothing.png")
    return ImageFolder(tmp_path)


def test_verify_names_each_file_and_its_fault(folder: ImageFolder) -> None:
    train = folder.split("train")
    bad = verify(train, max_pixels=64 * 64)
    assert [item.name for item in bad] == [
        "train/a/empty.jpg",
        "train/a/page.jpg",
        "train/b/gone.png",
        "train/b/large.png",
    ]
    assert [train.name(item.index) for item in bad] == [item.name for item in bad]
    assert bad[0].reason.startswith("is empty")
    assert "web page" in bad[1].reason
    assert bad[2].reason == "no such file"
    assert bad[3].reason == "has 70 x 70 pixels, more than the 4,096 allowed"


def test_without_the_bad_ones_all_is_well(folder: ImageFolder) -> None:
    train = folder.split("train")
    assert verify(train.without(item.index for item in verify(train))) == ()


def test_a_tree_without_split_folders_keeps_them_in_train(folder: ImageFolder) -> None:
    train = ImageFolder(
        folder.root / "train", fractions=SplitFractions(train=0.0, val=0.5, test=0.5), classes=["a", "b"]
    ).split()
    assert [item.name for item in train.verify()] == ["b/gone.png"]
    assert len(train) == 1


def test_a_named_pipe_is_a_bad_image_and_does_not_block(folder: ImageFolder) -> None:
    os.mkfifo(folder.root / "train" / "a" / "pipe.jpg")
    one_tree = ImageFolder(folder.root / "train", fractions=SplitFractions(train=1.0, val=0.0, test=0.0)).split("train")
    for split in (folder.split("train"), one_tree):  # the second reads the files to divide them
        assert [item.reason for item in split.verify() if "pipe.jpg" in item.name] == ["is not a regular file"]


def test_chosen_indices(folder: ImageFolder) -> None:
    assert [item.index for item in verify(folder.split("train"), [1, 2])] == [2]


def test_generated_images_are_always_good() -> None:
    assert verify(Scenes(3)) == ()


def test_summary() -> None:
    bad = [BadImage(index, f"{index}.jpg", "is empty") for index in range(7)]
    assert summary(bad[:1], 9) == "1 of 9 images cannot be used and are left out: 0.jpg: is empty"
    assert summary(bad, 9).endswith("3.jpg: is empty; 4.jpg: is empty; and 2 more")
