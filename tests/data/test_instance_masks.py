"""Masks on their way into batches: they move with the pixels that they are of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cvserve.artifact import PreprocSpec
from cvserve.data import Augmentation, DetectionPipeline, Objects, Scenes, open_dataset, write_coco
from cvserve.data.augment.boxes import augment_example, mosaic
from cvserve.data.augment.placement import SizedImage
from cvserve.data.instance_masks import GRID_SIZE, InstanceMasks
from cvserve.errors import ImageError, InvalidInput
from cvserve.postproc import ObjectMasks
from cvserve.postproc.pasting import paste
from cvserve.preproc import Geometry

SPEC = PreprocSpec(height=96, width=128, resize="letterbox")
MOVES = Augmentation(
    flip=0.5, vertical_flip=0.5, quarter_turn=0.5, half_turn=0.5, scale=(0.7, 1.5), translate=0.2, least_visible=0.0
)


def flag(width: int = 120, height: int = 90) -> tuple[SizedImage, Objects]:
    """An image with a red triangle that no flip or turn leaves as it is, and its mask; and one in green."""
    pixels = np.zeros((height, width, 3), np.uint8)
    masks = np.zeros((2, height, width), np.uint8)
    cv2.fillPoly(masks[0], [np.array([[20, 15], [70, 15], [20, 80]])], 1)
    cv2.fillPoly(masks[1], [np.array([[80, 40], [115, 70], [80, 85]])], 1)
    pixels[masks[0] > 0] = (255, 0, 0)
    pixels[masks[1] > 0] = (0, 255, 0)
    kept = ObjectMasks.of(masks > 0)
    instance_masks = InstanceMasks.of(kept)
    objects = Objects(instance_masks.frames, np.array([0, 1], np.int32), np.zeros(2, bool), kept.areas, instance_masks)
    return SizedImage(pixels, Geometry(width, height)), objects


def overlaps(pixels: np.ndarray, labels: np.ndarray, instance_masks: InstanceMasks) -> list[float]:
    """Of each object, IoU of its mask with the pixels of its colour."""
    masks = paste(instance_masks.grids.astype(np.float32) / 255, instance_masks.frames, *pixels.shape[:2])
    found = []
    for index, label in enumerate(labels.tolist()):
        mine, seen = masks.mask(index), pixels[..., label] > 127
        found.append(
            (mine & seen & (pixels[..., 2] < 60)).sum() / max((mine | (seen & (pixels[..., 2] < 60))).sum(), 1)
        )
    return found


def test_masks_stay_on_their_pixels_in_every_orientation() -> None:
    for seed in range(60):
        pixels, boxes, labels, instance_masks = augment_example(flag(), SPEC, MOVES, np.random.default_rng(seed))
        assert instance_masks is not None
        assert len(instance_masks) == len(labels) == len(boxes)
        assert min(overlaps(pixels, labels, instance_masks)) > 0.8


def test_four_images_on_one_canvas() -> None:
    still = MOVES.model_copy(update={"scale": (0.5, 0.6)})
    for seed in range(10):
        pixels, boxes, labels, instance_masks = mosaic([flag()] * 4, SPEC, still, np.random.default_rng(seed))
        assert instance_masks is not None
        masks = paste(instance_masks.grids.astype(np.float32) / 255, instance_masks.frames, 96, 128)
        for index, (box, label) in enumerate(zip(np.rint(boxes).astype(int).tolist(), labels.tolist(), strict=True)):
            # A mask reaches beyond the window at which its image, and with it its box, is cut off.
            part = (slice(box[1], box[3]), slice(box[0], box[2]))
            mask, seen = masks.mask(index)[part], pixels[part][..., label] > 127
            assert (mask & seen).sum() >= 0.7 * max(mask.sum(), 1)
        covered = np.any([masks.mask(index) for index in range(len(labels))], axis=0)
        seen = (pixels[..., :2].max(axis=-1) > 200) & (pixels[..., 2] < 60)
        assert (seen & ~covered).sum() < 0.1 * seen.sum()


@pytest.mark.parametrize("length", [2, 3, GRID_SIZE, GRID_SIZE + 1, 300])
def test_a_grid_has_the_fraction_that_the_object_covers(length: int) -> None:
    """Along one axis: a half stays a half, whether cells are smaller than pixels or larger."""
    mask = np.zeros((1, 4, length + 2), bool)
    mask[0, :, 1:-1] = True
    mask[0, 2:, 1 + length // 2 : -1] = False
    grid = InstanceMasks.of(ObjectMasks.of(mask)).grids[0] / 255
    assert grid[0].min() == 1
    assert grid[-1].mean() == pytest.approx((length // 2) / length, abs=0.02)


class TestPipeline:
    def test_batches_of_scenes(self) -> None:
        scenes = Scenes(6, task="detection", split="train", image_size=64)
        spec = PreprocSpec(height=64, width=64, resize="letterbox")
        pipeline = DetectionPipeline(scenes, spec, batch_size=6, masks=True)
        images, (boxes, labels, frames, grids) = pipeline.batch(0, np.arange(6))
        assert grids.shape == (*labels.shape, GRID_SIZE, GRID_SIZE)
        for index in range(6):
            scene, count = scenes.scene(index), len(scenes.objects(index))
            np.testing.assert_array_equal(boxes[index, :count], frames[index, :count])
            masks = paste(grids[index, :count].astype(np.float32) / 255, frames[index, :count], 64, 64)
            for place in range(count):
                assert (masks.mask(place) != scene.masks[place]).sum() <= 0.1 * scene.masks[place].sum()
            assert (labels[index, count:] == -1).all()
        assert images.shape == (6, 64, 64, 3)
        assert [tuple(spec.shape) for spec in pipeline.epoch(0).element_spec[1]] == [
            (None, None, 4),
            (None, None),
            (None, None, 4),
            (None, None, GRID_SIZE, GRID_SIZE),
        ]

    def test_boxes_without_masks_are_refused(self, tmp_path: Path) -> None:
        train = coco(tmp_path, [{"bbox": [1, 1, 9, 9]}])
        DetectionPipeline(train, SPEC, batch_size=1)
        with pytest.raises(InvalidInput, match="has boxes without masks; masks are in COCO's JSON"):
            DetectionPipeline(train, SPEC, batch_size=1, masks=True)

    @pytest.mark.parametrize(
        ("segmentation", "reason"),
        [
            (None, "it has no segmentation"),
            ({"size": [30, 40], "counts": [9, 9]}, "run lengths of 18 pixels are not those of a mask of 40 x 30"),
            ({"size": [30, 40], "counts": "~~~"}, "the run lengths are not a compressed string of COCO's"),
        ],
    )
    def test_an_image_with_an_invalid_mask_is_left_out(self, tmp_path: Path, segmentation: Any, reason: str) -> None:
        whole = {"bbox": [1, 1, 9, 9], "segmentation": [[1, 1, 10, 1, 10, 10]]}
        train = coco(tmp_path, [whole], [whole, {"bbox": [2, 2, 9, 9], "segmentation": segmentation}])
        pipeline = DetectionPipeline(train, SPEC, batch_size=1, masks=True)
        [bad] = pipeline.bad
        assert bad.index == 1
        assert bad.reason == f"its masks in _annotations.coco.json cannot be used: annotation 2: {reason}"


def test_written_scenes_are_read(tmp_path: Path) -> None:
    scenes = Scenes(3, task="detection", split="val", image_size=64)
    root = write_coco(scenes, tmp_path / "scenes", ".png")
    read = open_dataset(root, "val", task="detection")
    for index in range(3):
        assert read.object_masks(index) == scenes.object_masks(index)
        assert scenes.object_masks(index).areas.tolist() == scenes.objects(index).areas.tolist()


def test_real_annotations(shared: Path) -> None:
    """Polygons, run lengths and crowds of COCO, as pycocotools reads them."""
    coco_api = pytest.importorskip("pycocotools.coco")
    split = open_dataset(shared / "data" / "coco_mini", "val", task="detection")
    reference = coco_api.COCO(str(next((shared / "data" / "coco_mini" / "annotations").glob("instances_val*.json"))))
    for index in range(0, len(split), 5):
        annotations = reference.loadAnns(reference.getAnnIds(imgIds=[split.image_id(index)]))
        masks = split.object_masks(index)
        assert len(masks) == len(annotations) == len(split.objects(index))
        for place, annotation in enumerate(annotations):
            np.testing.assert_array_equal(masks.mask(place), reference.annToMask(annotation))


def test_masks_of_a_missing_image_are_an_error(tmp_path: Path) -> None:
    split = coco(tmp_path, [{"bbox": [1, 1, 9, 9], "segmentation": {"size": [9, 9], "counts": [81]}}])
    with pytest.raises(ImageError, match="run lengths are of the size"):
        split.object_masks(0)


def coco(root: Path, *images: list[dict[str, Any]]) -> Any:
    """A training split with one image of 40 x 30 pixels for each list of annotations."""
    (root / "train").mkdir(parents=True)
    annotations = [
        {"image_id": number, "category_id": 1, **item} for number, items in enumerate(images, 1) for item in items
    ]
    content = {
        "images": [
            {"id": number, "file_name": f"{number}.png", "width": 40, "height": 30}
            for number in range(1, len(images) + 1)
        ],
        "annotations": [{"id": number, **item} for number, item in enumerate(annotations)],
        "categories": [{"id": 1, "name": "cat"}],
    }
    for image in content["images"]:
        cv2.imwrite(str(root / "train" / str(image["file_name"])), np.zeros((30, 40, 3), np.uint8))
    (root / "train" / "_annotations.coco.json").write_text(json.dumps(content))
    return open_dataset(root, "train", task="detection")
