"""Folders and scenes are opened by one function."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cvserve.data import Scenes, open_dataset
from cvserve.errors import InvalidInput, NotFound


def test_a_folder(tmp_path: Path) -> None:
    for name in ("train/a/1.jpg", "train/b/2.jpg"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"")
    assert open_dataset(tmp_path, "train").classes == ("a", "b")
    assert open_dataset(str(tmp_path), "train").classes == ("a", "b")


def test_scenes() -> None:
    assert open_dataset("scenes", "train") == Scenes(2400)
    assert open_dataset("scenes:classification?count=600&seed=1", "val") == Scenes(150, seed=1, split="val")
    assert open_dataset("scenes?image_size=96&val_count=7", "val") == Scenes(7, image_size=96, split="val")
    assert open_dataset("scenes", "test", task="detection") == Scenes(600, task="detection", split="test")
    assert open_dataset("scenes:captioning", task="detection") == Scenes(2400, task="captioning")


def test_scenes_as_a_dataset() -> None:
    scenes = open_dataset("scenes?count=12", "train")
    assert len(scenes) == 12
    assert [scenes.label(index) for index in range(12)] == list(range(6)) * 2
    assert scenes.classes == tuple(sorted(scenes.classes))
    assert scenes.name(3) == "scenes/train/000003"
    image = scenes.image(3)
    assert isinstance(image, np.ndarray)
    assert image.shape == (64, 64, 3)
    assert scenes.describe().startswith("scenes:classification train: 12 generated images of 64 x 64, seed 0, in 6")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("scenes?colour=red", "option 'colour': Extra inputs are not permitted; the options are count, val_count"),
        ("scenes?count=many", "option 'count': Input should be a valid integer"),
        ("scenes?count=0", "option 'count': Input should be greater than or equal to 1"),
        ("scenes?count", r"options are written as \?count=600&seed=1"),
        ("scenes:poses", "no scenes for 'poses'; the tasks are captioning, classification"),
    ],
)
def test_wrong_scenes(data: str, sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        open_dataset(data)


def test_scenes_have_three_splits() -> None:
    with pytest.raises(InvalidInput, match="no split 'all'"):
        open_dataset("scenes", "all")


def test_scenes_for_a_model_with_other_classes() -> None:
    with pytest.raises(InvalidInput, match=r"the classes of the scenes are circle, .* asked for are cat, dog"):
        open_dataset("scenes", "val", classes=["cat", "dog"])


def test_a_folder_called_scenes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFound, match="scenes: there is no such folder"):
        open_dataset("./scenes")


def test_scenes_for_detection() -> None:
    expected = Scenes(9, task="detection", split="val", image_size=64)
    assert open_dataset("scenes?count=36&image_size=64", "val", task="detection") == expected
