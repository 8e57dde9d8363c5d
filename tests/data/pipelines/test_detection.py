"""Batches of images with boxes: serving's pixels, padded targets, one order for one seed."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from cvserve.artifact import PreprocSpec
from cvserve.data import Augmentation, DetectionPipeline, Objects, Scenes, open_dataset, write_coco
from cvserve.data.readers.annotated import AnnotatedSplit
from cvserve.errors import ImageError, InvalidInput
from cvserve.preproc import preprocess

SPEC = PreprocSpec(height=48, width=64, resize="letterbox")
FULL = Augmentation(hue=0.1, vertical_flip=0.5, half_turn=0.5, quarter_turn=0.5, scale=(0.5, 2.0), translate=0.1)

Batch = tuple[np.ndarray, np.ndarray, np.ndarray]


def scenes_on_disk(root: Path, count: int) -> AnnotatedSplit:
    """The train split of a folder that has a val, so that train is all that was written."""
    for split, number in (("train", count), ("val", 1)):
        write_coco(Scenes(number, task="detection", split=split), root)
    return open_dataset(root, "train", task="detection")


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> AnnotatedSplit:
    """22 JPEG files with 1 to 5 objects each."""
    return scenes_on_disk(tmp_path_factory.mktemp("scenes"), 22)


def epoch_of(pipeline: DetectionPipeline, epoch: int = 0) -> list[Batch]:
    """The epoch's batches by way of TensorFlow."""
    return [(images.numpy(), boxes.numpy(), labels.numpy()) for images, (boxes, labels) in pipeline.epoch(epoch)]


def assert_same(one: list[Batch], other: list[Batch]) -> None:
    assert len(one) == len(other) > 0
    for mine, theirs in zip(one, other, strict=True):
        for values, expected in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(values, expected)


class TestWithoutAugmentation:
    @pytest.mark.parametrize("rule", ["letterbox", "exact", "short_side"])
    def test_it_is_preprocess_byte_for_byte(self, train: AnnotatedSplit, rule: str) -> None:
        spec = SPEC.model_copy(update={"resize": rule})
        pipeline = DetectionPipeline(train, spec, batch_size=8)
        batches = epoch_of(pipeline)
        assert [len(images) for images, _, _ in batches] == [8, 8, 6]
        images = np.concatenate([images for images, _, _ in batches])
        for index in range(len(train)):
            pixels, geometry = preprocess(train.image(index), spec)
            assert images[index].tobytes() == pixels.tobytes()
            assert pipeline.geometry(index) == geometry

    def test_boxes_are_moved_by_the_geometry(self, train: AnnotatedSplit) -> None:
        pipeline = DetectionPipeline(train, SPEC, batch_size=22)
        ((_, boxes, labels),) = epoch_of(pipeline)
        assert boxes.shape[:2] == labels.shape == (22, max(len(train.objects(index)) for index in range(22)))
        for index in range(22):
            objects = train.objects(index)
            used = labels[index] >= 0
            assert labels[index, used].tolist() == objects.labels.tolist()
            np.testing.assert_allclose(
                boxes[index, used], pipeline.geometry(index).to_input(objects.boxes), rtol=1e-5, atol=1e-4
            )
            assert (labels[index, ~used] == -1).all()
            assert (boxes[index, ~used] == 0).all()
            np.testing.assert_allclose(
                pipeline.geometry(index).to_original(boxes[index, used]), objects.boxes, atol=1e-3
            )

    def test_colors_alone_move_nothing(self, train: AnnotatedSplit) -> None:
        options = {**Augmentation.none().model_dump(), "brightness": 0.5}
        colored = DetectionPipeline(train, SPEC, batch_size=22, augmentation=Augmentation(**options))
        plain = DetectionPipeline(train, SPEC, batch_size=22)
        ((images, boxes, labels),), ((expected, same_boxes, same_labels),) = epoch_of(colored), epoch_of(plain)
        np.testing.assert_array_equal(boxes, same_boxes)
        np.testing.assert_array_equal(labels, same_labels)
        assert (images != expected).any(axis=(1, 2, 3)).sum() > 15

    def test_shapes_never_need_another_trace(self, train: AnnotatedSplit) -> None:
        images, (boxes, labels) = DetectionPipeline(train, SPEC, batch_size=8).epoch().element_spec
        assert (images.shape.as_list(), images.dtype.name) == ([None, 48, 64, 3], "uint8")
        assert (boxes.shape.as_list(), boxes.dtype.name) == ([None, None, 4], "float32")
        assert (labels.shape.as_list(), labels.dtype.name) == ([None, None], "int32")


class TestSeeds:
    def test_a_resumed_training_sees_the_same_batches(self, train: AnnotatedSplit) -> None:
        options = {"batch_size": 8, "augmentation": FULL, "shuffle": True, "seed": 9}
        unbroken = DetectionPipeline(train, SPEC, workers=2, **options)
        epochs = [epoch_of(unbroken, epoch) for epoch in range(3)]
        assert_same(epochs[2], epoch_of(DetectionPipeline(train, SPEC, workers=1, **options), 2))
        assert (epochs[0][0][0] != epochs[1][0][0]).any()
        other = DetectionPipeline(train, SPEC, batch_size=8, augmentation=FULL, shuffle=True, seed=8)
        assert (epoch_of(other)[0][0] != epochs[0][0][0]).any()

    @pytest.mark.parametrize("augmentation", [None, FULL], ids=["none", "full"])
    def test_the_cache_changes_nothing(self, train: AnnotatedSplit, augmentation: Augmentation | None) -> None:
        options = {"batch_size": 8, "augmentation": augmentation, "shuffle": True}
        everything = DetectionPipeline(train, SPEC, **options)
        some = DetectionPipeline(train, SPEC, cache_bytes=200_000 if augmentation else 40_000, **options)
        assert len(everything._cache) == 22
        assert 0 < len(some._cache) < 22
        assert_same(epoch_of(everything, 1), epoch_of(some, 1))
        for index in range(22):
            assert some.geometry(index) == everything.geometry(index)

    def test_batches_with_their_indices(self, train: AnnotatedSplit) -> None:
        pipeline = DetectionPipeline(train, SPEC, batch_size=8, augmentation=FULL, shuffle=True, workers=2)
        indices, batches = zip(*pipeline.indexed(1), strict=True)
        assert np.concatenate(indices).tolist() == pipeline.order(1).tolist()
        assert_same([(images, *targets) for images, targets in batches], epoch_of(pipeline, 1))


class TestMosaics:
    def test_they_end_before_the_training_does(self, train: AnnotatedSplit) -> None:
        only = Augmentation.none().model_copy(update={"mosaic": 1.0, "plain_share": 0.5})
        pipeline = DetectionPipeline(train, SPEC, batch_size=22, augmentation=only, epochs=4)
        plain = epoch_of(DetectionPipeline(train, SPEC, batch_size=22))
        assert all((epoch_of(pipeline, epoch)[0][0] != plain[0][0]).any(axis=(1, 2, 3)).all() for epoch in (0, 1))
        for epoch in (2, 3):
            ((images, boxes, labels),) = epoch_of(pipeline, epoch)
            np.testing.assert_array_equal(images, plain[0][0])
            np.testing.assert_allclose(boxes, plain[0][1], atol=1e-3)
            np.testing.assert_array_equal(labels, plain[0][2])

    def test_how_often(self, train: AnnotatedSplit) -> None:
        only = Augmentation.none().model_copy(update={"mosaic": 0.3})
        pipeline = DetectionPipeline(train, SPEC, batch_size=22, augmentation=only)
        plain = epoch_of(DetectionPipeline(train, SPEC, batch_size=22))[0][0]
        changed = [
            (pipeline.batch(epoch, pipeline.order())[0] != plain).any(axis=(1, 2, 3)).mean() for epoch in range(20)
        ]
        assert np.mean(changed) == pytest.approx(0.3, abs=0.07)


class TestBadImages:
    @pytest.fixture
    def damaged(self, tmp_path: Path) -> AnnotatedSplit:
        """12 images, of which the third is text, the fifth has another size than its annotations say."""
        data = scenes_on_disk(tmp_path, 12)
        data.image(2).write_text("this is no image")
        cv2.imwrite(str(data.image(4)), np.zeros((60, 50, 3), np.uint8))
        return data

    def test_they_are_reported_and_left_out(self, damaged: AnnotatedSplit, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING):
            pipeline = DetectionPipeline(damaged, SPEC, batch_size=4, augmentation=FULL)
        assert [item.index for item in pipeline.bad] == [2, 4]
        assert pipeline.bad[1].reason == "is 50 x 60 pixels upright, but its annotations are of 128 x 128"
        assert "2 of 12 images cannot be used and are left out" in caplog.text
        assert len(pipeline) == 10
        assert [len(images) for images, _, _ in epoch_of(pipeline)] == [4, 4, 2]

    def test_late_ones_leave_their_batches_and_mosaics(
        self, damaged: AnnotatedSplit, caplog: pytest.LogCaptureFixture
    ) -> None:
        mosaics = FULL.model_copy(update={"mosaic": 1.0})
        pipeline = DetectionPipeline(damaged, SPEC, batch_size=4, augmentation=mosaics, cache_bytes=0)
        assert [item.index for item in pipeline.bad] == [2]
        with caplog.at_level(logging.WARNING):
            indices = np.concatenate([indices for indices, _ in pipeline.indexed()])
        assert indices.tolist() == [0, 1, 3, 5, 6, 7, 8, 9, 10, 11]
        assert caplog.text.count("is left out of its batches") == 1
        for index in range(12):
            damaged.image(index).unlink()
        with pytest.raises(ImageError, match="no such file"):
            list(pipeline.batches(0))

    def test_a_turned_photo_whose_annotations_are_of_the_stored_pixels(self, tmp_path: Path) -> None:
        """Boxes drawn by a tool that ignores EXIF would be elsewhere in the upright image."""
        data = scenes_on_disk(tmp_path, 2)
        good = cv2.imencode(".jpg", np.zeros((128, 128, 3), np.uint8))[1].tobytes()
        wide = cv2.imencode(".jpg", np.zeros((90, 128, 3), np.uint8))[1].tobytes()
        exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
        turned = wide[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + wide[2:]
        data.image(0).write_bytes(turned)
        data.image(1).write_bytes(good)
        (bad,) = DetectionPipeline(data, SPEC, batch_size=1).bad
        assert bad.reason == "is 90 x 128 pixels upright, but its annotations are of 128 x 128"


class Plain:
    """The least that a source must have, and large images."""

    split, classes, category_ids = "train", ("cat", "dog"), (1, 2)

    def __init__(self, objects: list[Objects]) -> None:
        self._objects = objects

    def __len__(self) -> int:
        return len(self._objects)

    def image(self, index: int) -> np.ndarray:
        image = np.full((900, 1600, 3), 40, np.uint8)
        image[300:600, 400:900] = 250
        return image

    def name(self, index: int) -> str:
        return str(index)

    def describe(self) -> str:
        return "plain"

    def objects(self, index: int) -> Objects:
        return self._objects[index]

    def image_id(self, index: int) -> int:
        return index + 1


def test_large_images_are_kept_small_and_their_boxes_stay_exact() -> None:
    source = Plain([Objects.of([[400, 300, 900, 600]], [0])])
    scales = Augmentation.none().model_copy(update={"scale": (0.7, 1.4)})
    pipeline = DetectionPipeline(source, SPEC, batch_size=1, augmentation=scales)
    assert pipeline._cache.bytes < 100 * 60 * 3
    for epoch in range(20):
        images, (boxes, _) = pipeline.batch(epoch, pipeline.order())
        rows, columns = np.nonzero(images[0, ..., 0] > 180)
        extent = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(boxes[0, 0], extent, atol=1.5)


def test_large_jpegs_are_decoded_small(tmp_path: Path) -> None:
    """1601 x 903 pixels do not divide by what the decoder shrinks by."""
    image = np.full((903, 1601, 3), 40, np.uint8)
    image[301:603, 401:903] = 250
    path = tmp_path / "large.jpg"
    cv2.imwrite(str(path), image)
    source = Plain([Objects.of([[401, 301, 903, 603]], [0])])
    source.image = lambda index: path  # type: ignore[method-assign]
    scales = Augmentation.none().model_copy(update={"scale": (0.9, 1.1), "quarter_turn": 1.0})
    pipeline = DetectionPipeline(source, SPEC, batch_size=1, augmentation=scales)
    assert pipeline._cache.bytes < 180 * 110 * 3
    assert (pipeline.geometry(0).original_width, pipeline.geometry(0).original_height) == (1601, 903)
    for epoch in range(10):
        images, (boxes, _) = pipeline.batch(epoch, pipeline.order())
        rows, columns = np.nonzero(images[0, ..., 0] > 180)
        extent = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(boxes[0, 0], extent, atol=1.5)


def test_a_batch_without_objects() -> None:
    source = Plain(
        [Objects.of([], []), Objects.of([[1, 1, 9, 9]], [0], ignored=[True]), Objects.of([[9, 9, 99, 99]], [1])]
    )
    pipeline = DetectionPipeline(source, SPEC, batch_size=2)
    images, (boxes, labels) = pipeline.batch(0, np.array([0, 1]))
    assert (images.shape, boxes.shape, labels.shape) == ((2, 48, 64, 3), (2, 0, 4), (2, 0))
    assert epoch_of(pipeline)[0][1].shape == (2, 0, 4)


def test_classes_without_objects_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        DetectionPipeline(Plain([Objects.of([[9, 9, 99, 99]], [1])]), SPEC, batch_size=1)
    assert "no image that can be used has an object of class cat" in caplog.text
    with pytest.raises(InvalidInput, match="not one of the 1 images that can be used has an object"):
        DetectionPipeline(Plain([Objects.of([], [])]), SPEC, batch_size=1)


def test_batches_come_without_tensorflow() -> None:
    program = (
        "import sys; from cvserve.data import *; from cvserve.artifact import PreprocSpec\n"
        "pipeline = DetectionPipeline(open_dataset('scenes?count=4', task='detection'),"
        " PreprocSpec(height=32, width=32), batch_size=4, augmentation=Augmentation(mosaic=1), shuffle=True)\n"
        "images, (boxes, labels) = pipeline.batch(0, pipeline.order(0))\n"
        "assert images.shape == (4, 32, 32, 3) and boxes.shape[:2] == labels.shape\n"
        "assert not {'tensorflow', 'keras', 'onnxruntime', 'pycocotools'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_blood_cells(shared: Path) -> None:
    """Real photos in training form: every box on the canvas, none tiny, cached or not."""
    val = open_dataset(shared / "data/bccd", "val", task="detection")
    few = val.without(range(20, len(val)))
    spec = PreprocSpec(height=144, width=192, resize="letterbox")
    options = {"batch_size": 10, "augmentation": FULL, "shuffle": True, "epochs": 10}
    batches = epoch_of(DetectionPipeline(few, spec, **options), 2)
    assert_same(batches, epoch_of(DetectionPipeline(few, spec, cache_bytes=0, **options), 2))
    for _, boxes, labels in batches:
        found = boxes[labels >= 0]
        assert len(found) > 20
        assert (found >= 0).all()
        assert (found <= (192, 144, 192, 144)).all()
        assert ((found[:, 2:] - found[:, :2]) >= 2).all()
