"""Scenes as data for detection, generated and as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cvserve.data import Scenes, open_dataset, write_coco
from cvserve.errors import InvalidInput

SCENES = Scenes(9, task="detection", split="val", image_size=64)


def test_objects_are_those_of_the_scene() -> None:
    for index in range(9):
        scene, objects = SCENES.scene(index), SCENES.objects(index)
        np.testing.assert_array_equal(objects.boxes, scene.boxes)
        np.testing.assert_array_equal(objects.labels, scene.labels)
        assert objects.areas.tolist() == scene.masks.sum(axis=(1, 2)).tolist()
        assert not objects.ignored.any()
    assert SCENES.category_ids == tuple(range(1, 1 + len(SCENES.classes)))


def test_writing_on_a_image_does_not_change_the_next() -> None:
    image = SCENES.image(0)
    expected = image.copy()
    image[:] = 0
    np.testing.assert_array_equal(SCENES.image(0), expected)


def test_the_door() -> None:
    assert open_dataset("scenes?count=36&image_size=64", "val", task="detection") == SCENES


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_files_say_what_the_scenes_say(tmp_path: Path, suffix: str) -> None:
    data = open_dataset(write_coco(SCENES, tmp_path, suffix), "val", task="detection")
    assert (data.classes, data.category_ids, len(data)) == (SCENES.classes, SCENES.category_ids, 9)
    assert (data.dropped, data.clipped, data.verify()) == ((), (), ())
    for index in range(9):
        mine, theirs = data.objects(index), SCENES.objects(index)
        for name in ("boxes", "labels", "ignored", "areas"):
            np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name))
        assert data.image_id(index) == SCENES.image_id(index)


def test_masks_as_pycocotools_reads_them(tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    write_coco(SCENES, tmp_path)
    reference = coco.COCO(str(tmp_path / "annotations" / "instances_val.json"))
    for index in range(9):
        annotations = reference.loadAnns(reference.getAnnIds(imgIds=index + 1))
        masks = [reference.annToMask(item).astype(bool) for item in annotations]
        np.testing.assert_array_equal(masks, SCENES.scene(index).masks)


def test_other_suffixes(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"written as \.jpg or \.png, not '\.gif'"):
        write_coco(SCENES, tmp_path, ".gif")
