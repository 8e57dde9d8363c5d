"""Generated scenes: exact ground truth, and the same on every run."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import cv2
import numpy as np
import pytest

from cvserve.data import Scenes
from cvserve.data.scenes.generator import SCENE_TASKS
from cvserve.data.scenes.layout import GAP
from cvserve.data.scenes.render import render
from cvserve.data.scenes.shapes import COLORS, OUTLINES, SHAPES, SIZES
from cvserve.errors import InvalidInput

SCENES = [Scenes(12, seed=3, image_size=size, task=task) for task in SCENE_TASKS.names() for size in (48, 96)]
DETECTION = Scenes(9, task="detection", split="val", image_size=64)
EACH = pytest.mark.parametrize("scenes", SCENES, ids=lambda scenes: f"{scenes.task}-{scenes.side}")


@EACH
def test_shapes_and_types(scenes: Scenes) -> None:
    for index in range(len(scenes)):
        scene = scenes.scene(index)
        count, side = len(scene.objects), scenes.side
        assert count >= 1
        assert (scene.image.shape, scene.image.dtype) == ((side, side, 3), np.uint8)
        assert (scene.masks.shape, scene.masks.dtype) == ((count, side, side), bool)
        assert (scene.boxes.shape, scene.boxes.dtype) == ((count, 4), np.float32)
        assert [SHAPES[label] for label in scene.labels] == [item.shape for item in scene.objects]


@EACH
def test_boxes_are_tight_around_masks_and_nothing_hides_anything(scenes: Scenes) -> None:
    for index in range(len(scenes)):
        scene = scenes.scene(index)
        assert scene.masks.sum(axis=0).max() == 1
        for mask, (left, top, right, bottom) in zip(scene.masks, scene.boxes.astype(int), strict=True):
            rows, columns = np.nonzero(mask)
            assert (left, top, right, bottom) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        class_map = np.zeros(scene.class_map.shape, np.uint8)
        for mask, label in zip(scene.masks, scene.labels, strict=True):
            class_map[mask] = label + 1
        np.testing.assert_array_equal(scene.class_map, class_map)


@EACH
def test_masks_are_the_outlines(scenes: Scenes) -> None:
    """Against point-in-polygon tests of 8 x 8 points a pixel; near one half it may go either way."""
    scene = scenes.scene(0)
    for item, mask in zip(scene.objects, scene.masks, strict=True):
        share = _share_inside(item.outline(), scenes.side)
        clear = np.abs(share - 0.5) > 0.1
        np.testing.assert_array_equal(mask[clear], share[clear] > 0.5)


def _share_inside(corners: np.ndarray, side: int, fine: int = 8) -> np.ndarray:
    places = (np.arange(side * fine) + 0.5) / (side * fine)
    x, y = np.meshgrid(places, places)
    return _inside(corners, x, y).reshape(side, fine, side, fine).mean(axis=(1, 3))


def _inside(corners: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The even-odd rule."""
    inside = np.zeros(x.shape, bool)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y1 != y2:
            crosses = (y1 > y) != (y2 > y)
            inside ^= crosses & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
    return inside


@EACH
def test_masks_are_the_pixels(scenes: Scenes) -> None:
    """Away from the objects the image is the bare ground; inside it is the object's colour, shaded."""
    for index in range(4):
        scene = scenes.scene(index)
        _, rng = scenes._layout(index)
        ground, _ = render((), scenes.side, rng)
        changed = (scene.image != ground).any(axis=2)
        touched = sum(_share_inside(item.outline(), scenes.side) > 0 for item in scene.objects)
        # One pixel more: a corner may reach into a pixel without covering any of the 8 x 8 points.
        rim = cv2.dilate((touched > 0).astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
        assert not (changed & ~rim).any()
        for item, mask in zip(scene.objects, scene.masks, strict=True):
            core = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
            if core.sum() >= 12:
                mean = scene.image[core].mean(axis=0)
                assert np.abs(mean - item.rgb).max() < 45, (index, item, mean)


@EACH
def test_layout(scenes: Scenes) -> None:
    for index in range(len(scenes)):
        objects = scenes.scene(index).objects
        for number, one in enumerate(objects):
            corners = one.outline()
            assert corners.min() >= 0
            assert corners.max() <= 1
            assert np.hypot(*(corners - (one.x, one.y)).T).max() <= one.reach + 1e-9
            if one.size:
                assert SIZES[one.size][0] <= one.radius <= SIZES[one.size][1]
            for other in objects[number + 1 :]:
                assert np.hypot(one.x - other.x, one.y - other.y) >= one.reach + other.reach + GAP
                assert (one.size, one.color, one.shape) != (other.size, other.color, other.shape)


def test_numbers_of_objects() -> None:
    for task, most in (("classification", 1), ("detection", 5), ("segmentation", 5), ("captioning", 3)):
        counts = {len(Scenes(150, task=task)._layout(index)[0]) for index in range(150)}
        assert counts == set(range(1, most + 1)), task


def test_sizes_do_not_meet_and_colors_stay_apart() -> None:
    assert SIZES["small"][1] < SIZES["large"][0]
    scenes = Scenes(300, image_size=32, task="detection")
    centers = np.array(list(COLORS.values()), float)
    for index in range(100):
        for item in scenes._layout(index)[0]:
            nearest = np.linalg.norm(centers - item.rgb, axis=1).argmin()
            assert list(COLORS)[nearest] == item.color


def test_all_shapes_have_the_area_of_the_unit_circle() -> None:
    for name, points in OUTLINES.items():
        area = cv2.contourArea(points.astype(np.float32))
        assert area == pytest.approx(np.pi, rel=1e-4), name


def test_a_scene_does_not_depend_on_count_but_on_seed_split_and_index() -> None:
    scene = Scenes(5, seed=1).image(2)
    np.testing.assert_array_equal(scene, Scenes(500, seed=1).image(2))
    assert (scene != Scenes(5, seed=2).image(2)).any()
    assert (scene != Scenes(5, seed=1, split="val").image(2)).any()
    assert (scene != Scenes(9, seed=1).image(8)).any()


def test_the_same_in_another_process() -> None:
    program = (
        "import hashlib; from cvserve.data import Scenes; digest = hashlib.sha256()\n"
        "for task in ('classification', 'captioning'):\n"
        "    for index in range(4): digest.update(Scenes(4, seed=7, task=task).image(index).tobytes())\n"
        "print(digest.hexdigest())"
    )
    there = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    digest = hashlib.sha256()
    for task in ("classification", "captioning"):
        for index in range(4):
            digest.update(Scenes(4, seed=7, task=task).image(index).tobytes())
    assert there == digest.hexdigest()


def test_no_two_images_are_the_same() -> None:
    images = {Scenes(40, split=split).image(index).tobytes() for split in ("train", "val") for index in range(40)}
    assert len(images) == 80


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"count": 0}, "number of scenes must be at least 1, not 0"),
        ({"count": 1, "seed": -1}, "seed of scenes must be 0 or more"),
        ({"count": 1, "image_size": 16}, "from 32 to 1024 pixels, not 16"),
        ({"count": 1, "task": "poses"}, "no scenes for the task 'poses'"),
        ({"count": 1, "split": "all"}, "no split 'all'"),
    ],
)
def test_refusals(options: dict, sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        Scenes(**options)


def test_an_index_too_many() -> None:
    with pytest.raises(IndexError):
        Scenes(3).image(3)


def test_objects_are_those_of_the_scene() -> None:
    for index in range(9):
        scene, objects = DETECTION.scene(index), DETECTION.objects(index)
        np.testing.assert_array_equal(objects.boxes, scene.boxes)
        np.testing.assert_array_equal(objects.labels, scene.labels)
        assert objects.areas.tolist() == scene.masks.sum(axis=(1, 2)).tolist()
        assert not objects.ignored.any()
    assert DETECTION.category_ids == tuple(range(1, 1 + len(DETECTION.classes)))


def test_writing_on_an_image_does_not_change_the_next() -> None:
    image = DETECTION.image(0)
    expected = image.copy()
    image[:] = 0
    np.testing.assert_array_equal(DETECTION.image(0), expected)
