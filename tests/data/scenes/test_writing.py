"""Scenes as files: what is read back is what the scenes are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from cvserve.data import (
    ImageFolder,
    Scenes,
    open_dataset,
    write_captions,
    write_coco,
    write_image_folder,
    write_mask_folder,
)
from cvserve.errors import InvalidInput
from cvserve.preproc import decode

DETECTION = Scenes(9, task="detection", split="val", image_size=64)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_image_folder(tmp_path: Path, suffix: str) -> None:
    for split in ("train", "val"):
        write_image_folder(Scenes(12, split=split), tmp_path, suffix)
    folder = ImageFolder(tmp_path)
    for split in ("train", "val"):
        scenes, read = Scenes(12, split=split), folder.split(split)
        assert read.classes == scenes.classes
        assert len(read) == 12
        for sample in read.samples:
            index = int(sample.path.stem)
            assert sample.label == scenes.label(index)
            pixels = cv2.imread(str(sample.path), cv2.IMREAD_COLOR_RGB)
            difference = np.abs(pixels.astype(int) - scenes.image(index)).mean()
            assert difference == 0 if suffix == ".png" else difference < 6


def test_captions(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_captions(Scenes(5, task="captioning", split=split, image_size=64), tmp_path, ".png")
    scenes = Scenes(5, task="captioning", split="val", image_size=64)
    data = open_dataset(tmp_path, "val", task="captioning")
    assert len(data) == 5
    for index in range(5):
        assert data.captions(index) == scenes.captions(index)
        assert data.image_id(index) == scenes.image_id(index)
        np.testing.assert_array_equal(decode(data.image(index)), scenes.image(index))


def test_masks(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_mask_folder(Scenes(5, task="segmentation", split=split, image_size=64), tmp_path, ".png")
    scenes = Scenes(5, task="segmentation", split="val", image_size=64)
    data = open_dataset(tmp_path, "val", task="segmentation")
    assert (data.classes, len(data)) == (scenes.classes, 5)
    for index in range(5):
        np.testing.assert_array_equal(data.mask(index), scenes.scene(index).class_map)
        np.testing.assert_array_equal(decode(data.image(index)), scenes.image(index))


def test_masks_of_another_task_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="ask for segmentation"):
        write_mask_folder(Scenes(2, task="detection"), tmp_path)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_coco(tmp_path: Path, suffix: str) -> None:
    data = open_dataset(write_coco(DETECTION, tmp_path, suffix), "val", task="detection")
    assert (data.classes, data.category_ids, len(data)) == (DETECTION.classes, DETECTION.category_ids, 9)
    assert (data.dropped, data.clipped, data.verify()) == ((), (), ())
    for index in range(9):
        mine, theirs = data.objects(index), DETECTION.objects(index)
        for name in ("boxes", "labels", "ignored", "areas"):
            np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name))
        assert data.image_id(index) == DETECTION.image_id(index)


def test_coco_masks_as_pycocotools_reads_them(tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    write_coco(DETECTION, tmp_path)
    reference = coco.COCO(str(tmp_path / "annotations" / "instances_val.json"))
    for index in range(9):
        annotations = reference.loadAnns(reference.getAnnIds(imgIds=index + 1))
        masks = [reference.annToMask(item).astype(bool) for item in annotations]
        np.testing.assert_array_equal(masks, DETECTION.scene(index).masks)


@pytest.mark.parametrize(
    ("write", "task"),
    [
        (write_image_folder, "classification"),
        (write_coco, "detection"),
        (write_mask_folder, "segmentation"),
        (write_captions, "captioning"),
    ],
)
def test_other_suffixes_are_refused(write: Callable[..., Path], task: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"written as \.jpg or \.png, not '\.gif'"):
        write(Scenes(2, task=task), tmp_path, ".gif")
