"""Batches of images with label maps: serving's pixels, labels that fit them, one order for one seed."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mask_files import painted, random_labels, write_camvid, write_pair

from cvserve.artifact import PreprocSpec
from cvserve.data import VOID, Augmentation, MaskedSplit, Scenes, SegmentationPipeline, open_dataset
from cvserve.data.masks import labels_in_input
from cvserve.errors import ImageError, InvalidInput
from cvserve.preproc import preprocess

SPEC = PreprocSpec(height=36, width=64, resize="letterbox")
FULL = Augmentation(hue=0.1, vertical_flip=0.5, half_turn=0.5, quarter_turn=0.5, scale=(0.5, 2.0), translate=0.1)

Batch = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> MaskedSplit:
    """22 images of 64 x 48 pixels."""
    root = write_camvid(tmp_path_factory.mktemp("masks"), {"train": 22, "val": 1})
    return open_dataset(root, "train", task="segmentation")


def epoch_of(pipeline: SegmentationPipeline, epoch: int = 0) -> list[Batch]:
    """The epoch's batches by way of TensorFlow."""
    return [(images.numpy(), labels.numpy()) for images, labels in pipeline.epoch(epoch)]


def assert_same(one: list[Batch], other: list[Batch]) -> None:
    assert len(one) == len(other) > 0
    for mine, theirs in zip(one, other, strict=True):
        for values, expected in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(values, expected)


class TestWithoutAugmentation:
    @pytest.mark.parametrize("rule", ["letterbox", "exact", "short_side"])
    def test_it_is_preprocess_byte_for_byte(self, train: MaskedSplit, rule: str) -> None:
        spec = SPEC.model_copy(update={"resize": rule})
        pipeline = SegmentationPipeline(train, spec, batch_size=8)
        batches = epoch_of(pipeline)
        assert [(images.shape, labels.shape) for images, labels in batches] == [
            ((size, 36, 64, 3), (size, 36, 64)) for size in (8, 8, 6)
        ]
        images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
        assert (images.dtype, labels.dtype) == (np.uint8, np.uint8)
        for index in range(len(train)):
            pixels, geometry = preprocess(train.image(index), spec)
            np.testing.assert_array_equal(images[index], pixels)
            np.testing.assert_array_equal(labels[index], labels_in_input(train.mask(index), geometry, 36, 64))
            assert pipeline.geometry(index) == geometry

    def test_mosaics_are_of_detection(self, train: MaskedSplit) -> None:
        mosaics = Augmentation.none().model_copy(update={"mosaic": 1.0})
        assert_same(
            epoch_of(SegmentationPipeline(train, SPEC, batch_size=8, augmentation=mosaics)),
            epoch_of(SegmentationPipeline(train, SPEC, batch_size=8)),
        )

    def test_letterbox_padding_is_void(self, train: MaskedSplit) -> None:
        spec = PreprocSpec(height=48, width=100, resize="letterbox")
        images, labels = SegmentationPipeline(train, spec, batch_size=4).batch(0, np.arange(4))
        assert (labels[:, :, :18] == VOID).all()
        assert (labels[:, :, 82:] == VOID).all()
        for index in range(4):
            np.testing.assert_array_equal(labels[index, :, 18:82], train.mask(index))
            np.testing.assert_array_equal(images[index, :, 18:82], painted(train.mask(index)))


class TestOrder:
    @pytest.mark.parametrize("cache_bytes", [1 << 30, 60_000, 0])
    @pytest.mark.parametrize("workers", [1, 3])
    def test_threads_and_cache_change_nothing(self, train: MaskedSplit, cache_bytes: int, workers: int) -> None:
        options = {"batch_size": 8, "augmentation": FULL, "shuffle": True, "seed": 3}
        expected = epoch_of(SegmentationPipeline(train, SPEC, workers=2, **options), 4)
        pipeline = SegmentationPipeline(train, SPEC, cache_bytes=cache_bytes, workers=workers, **options)
        epoch_of(pipeline, 0)
        assert_same(epoch_of(pipeline, 4), expected)

    def test_epochs_and_seeds_differ(self, train: MaskedSplit) -> None:
        first, other = (SegmentationPipeline(train, SPEC, batch_size=22, augmentation=FULL, seed=s) for s in (0, 1))
        shown = [first.batch(0, np.arange(22))[1], first.batch(1, np.arange(22))[1], other.batch(0, np.arange(22))[1]]
        for one, two in ((0, 1), (0, 2), (1, 2)):
            assert (shown[one] != shown[two]).mean() > 0.1

    def test_indexed_has_the_indices_of_the_images(self, train: MaskedSplit) -> None:
        pipeline = SegmentationPipeline(train, SPEC, batch_size=8, shuffle=True)
        found = list(pipeline.indexed(2))
        assert np.concatenate([indices for indices, _ in found]).tolist() == pipeline.order(2).tolist()
        indices, (_, labels) = found[0]
        np.testing.assert_array_equal(labels, pipeline.batch(2, indices)[1])


class TestLargeImages:
    def test_they_are_kept_small_and_labels_fit(self, tmp_path: Path) -> None:
        """A JPEG that is decoded at a part of its size, of odd sides."""
        labels = random_labels(701, 1003, 1, void=False)
        (tmp_path / "classes.txt").write_text("sky\nroad\ncar\n")
        write_pair(tmp_path / "images" / "a.jpg", tmp_path / "masks" / "a.png", labels)
        source = open_dataset(tmp_path, "all", task="segmentation")
        augmentation = Augmentation.none().model_copy(update={"scale": (0.8, 1.3), "flip": 0.5})
        pipeline = SegmentationPipeline(source, SPEC, batch_size=1, augmentation=augmentation)
        assert pipeline._cache.bytes < 400 * 300 * 4
        palette = painted(np.arange(3, dtype=np.uint8)[None])[0].astype(int)
        for epoch in range(10):
            images, shown = pipeline.batch(epoch, np.array([0]))
            seen = ((images[0][:, :, None].astype(int) - palette) ** 2).sum(-1).argmin(-1)
            kernel = np.ones((5, 5), np.uint8)
            inside = (cv2.erode(shown[0], kernel) == cv2.dilate(shown[0], kernel)) & (shown[0] != VOID)
            assert inside.mean() > 0.15
            np.testing.assert_array_equal(seen[inside], shown[0][inside])


class TestTargets:
    def test_nothing_labelled(self, tmp_path: Path) -> None:
        write_camvid(tmp_path, {"train": 1, "val": 1})
        for side in ("train", "val"):
            cv2.imwrite(str(tmp_path / side / "masks" / "0.png"), np.full((48, 64), 255, np.uint8))
        with pytest.raises(InvalidInput, match="train: not one of the 1 images that can be used has a labelled pixel"):
            SegmentationPipeline(open_dataset(tmp_path, "train", task="segmentation"), SPEC, batch_size=1)
        SegmentationPipeline(open_dataset(tmp_path, "val", task="segmentation"), SPEC, batch_size=1)

    def test_a_class_without_pixels_is_named(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        write_camvid(tmp_path, {"train": 2, "val": 1})
        (tmp_path / "classes.txt").write_text("sky\nroad\ncar\nUnlabelled\nboat\n")
        with caplog.at_level(logging.WARNING):
            SegmentationPipeline(open_dataset(tmp_path, "train", task="segmentation"), SPEC, batch_size=2)
        assert "train: no image that can be used has a pixel of class boat" in caplog.text

    def test_a_source_whose_masks_do_not_fit(self) -> None:
        class Wrong(Scenes):
            def mask(self, index: int) -> np.ndarray:
                return super().mask(index)[: 32 if index == 1 else None]

        pipeline = SegmentationPipeline(Wrong(3, image_size=64, task="segmentation"), SPEC, batch_size=3)
        assert [str(bad) for bad in pipeline.bad] == [
            "scenes/train/000001: is 64 x 64 pixels upright, its mask 64 x 32"
        ]

    def test_an_image_that_fails_late(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        root = write_camvid(tmp_path, {"train": 3, "val": 1})
        source = open_dataset(root, "train", task="segmentation")
        pipeline = SegmentationPipeline(source, SPEC, batch_size=3, cache_bytes=0)
        (root / "train" / "masks" / "1.png").unlink()
        with caplog.at_level(logging.WARNING):
            images, labels = pipeline.batch(0, np.arange(3))
        assert len(images) == len(labels) == 2
        assert "train/images/1.png is left out of its batches: its mask train/masks/1.png cannot" in caplog.text
        with pytest.raises(ImageError):
            pipeline.batch(0, np.array([1]))


class TestScenes:
    def test_they_are_a_source(self) -> None:
        scenes = open_dataset("scenes?count=8&image_size=64", "val", task="segmentation")
        assert scenes.classes == ("ground", "circle", "cross", "heart", "square", "star", "triangle")
        assert scenes.colors == ()
        pipeline = SegmentationPipeline(scenes, PreprocSpec(height=64, width=64, resize="exact"), batch_size=2)
        images, labels = pipeline.batch(0, np.arange(2))
        for index in range(2):
            scene = scenes.scene(index)
            np.testing.assert_array_equal(images[index], scene.image)
            np.testing.assert_array_equal(labels[index], scene.class_map)
            for mask, label in zip(scene.masks, scene.labels, strict=True):
                assert (labels[index][mask] == scenes.classes.index(scenes.classes[label + 1])).all()

    def test_labels_of_objects_are_indices_into_the_same_classes(self) -> None:
        scenes, plain = (Scenes(3, image_size=64, task=task) for task in ("segmentation", "detection"))
        for data in (scenes, plain):
            for index in range(3):
                shapes = [item.shape for item in data.scene(index).objects]
                assert [data.classes[label] for label in data.objects(index).labels] == shapes
                assert data.classes[data.label(index)] in shapes
        assert (scenes.category_ids, plain.category_ids) == ((0, 1, 2, 3, 4, 5, 6), (1, 2, 3, 4, 5, 6))


def test_the_pipeline_loads_no_framework() -> None:
    code = (
        "import sys; from cvserve.data import Scenes, SegmentationPipeline; from cvserve.artifact import PreprocSpec; "
        "import numpy as np; "
        "p = SegmentationPipeline(Scenes(2, task='segmentation'), PreprocSpec(height=32, width=32), batch_size=2); "
        "p.batch(0, np.arange(2)); list(p.indexed()); assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
