"""Batches: the pixels of preproc, the order of the seed, whatever the threads and the cache do."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from cvserve.artifact import PreprocSpec
from cvserve.data import (
    Augmentation,
    ImageFolder,
    ImagePipeline,
    Scenes,
    Split,
    image_dataset,
    open_dataset,
    write_image_folder,
)
from cvserve.data.pipelines.cache import ImageCache, shrink, smallest_source
from cvserve.errors import ImageError, InvalidInput
from cvserve.preproc import decode, preprocess

SPEC = PreprocSpec(height=24, width=32)
FULL = Augmentation(hue=0.1)


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Split:
    """30 JPEG files in 6 classes."""
    root = write_image_folder(Scenes(30), tmp_path_factory.mktemp("scenes"))
    return ImageFolder(root).split("train")


def epoch_of(pipeline: ImagePipeline, epoch: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """The epoch's batches by way of TensorFlow."""
    return [(images.numpy(), labels.numpy()) for images, labels in pipeline.epoch(epoch)]


def assert_same(one: list[tuple[np.ndarray, np.ndarray]], other: list[tuple[np.ndarray, np.ndarray]]) -> None:
    assert len(one) == len(other) > 0
    for (images, labels), (other_images, other_labels) in zip(one, other, strict=True):
        np.testing.assert_array_equal(images, other_images)
        np.testing.assert_array_equal(labels, other_labels)


class TestWithoutAugmentation:
    @pytest.mark.parametrize("rule", ["short_side", "exact", "letterbox"])
    def test_it_is_preprocess_byte_for_byte_in_index_order(self, train: Split, rule: str) -> None:
        spec = PreprocSpec(height=24, width=32, resize=rule)
        batches = epoch_of(ImagePipeline(train, spec, batch_size=8))
        assert [len(labels) for _, labels in batches] == [8, 8, 8, 6]
        images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
        for index in range(len(train)):
            assert images[index].tobytes() == preprocess(train.image(index), spec)[0].tobytes()
        assert labels.tolist() == [train.label(index) for index in range(len(train))]

    def test_shapes_and_types(self, train: Split) -> None:
        pipeline = ImagePipeline(train, SPEC, batch_size=8)
        dataset = pipeline.epoch()
        images, labels = dataset.element_spec
        assert (images.shape.as_list(), images.dtype.name) == ([None, 24, 32, 3], "uint8")
        assert (labels.shape.as_list(), labels.dtype.name) == ([None], "int32")
        assert int(dataset.cardinality()) == pipeline.steps == 4
        assert len(pipeline) == 30

    def test_drop_remainder(self, train: Split) -> None:
        pipeline = ImagePipeline(train, SPEC, batch_size=8, drop_remainder=True)
        assert [len(labels) for _, labels in epoch_of(pipeline)] == [8, 8, 8]

    def test_image_dataset_is_one_epoch_of_it(self, train: Split) -> None:
        options = {"batch_size": 8, "augmentation": FULL, "shuffle": True, "seed": 4}
        one = [(images.numpy(), labels.numpy()) for images, labels in image_dataset(train, SPEC, epoch=2, **options)]
        assert_same(one, epoch_of(ImagePipeline(train, SPEC, **options), 2))

    def test_scenes(self) -> None:
        scenes = Scenes(10, image_size=32)
        images, labels = epoch_of(ImagePipeline(scenes, PreprocSpec(height=32, width=32), batch_size=10))[0]
        np.testing.assert_array_equal(images, [scenes.image(index) for index in range(10)])
        np.testing.assert_array_equal(labels, [scenes.label(index) for index in range(10)])


class TestOrder:
    def test_each_image_once_an_epoch_and_another_order_in_the_next(self, train: Split) -> None:
        pipeline = ImagePipeline(train, SPEC, batch_size=8, shuffle=True, seed=1)
        orders = [pipeline.order(epoch).tolist() for epoch in range(3)]
        assert all(sorted(order) == list(range(30)) for order in orders)
        assert len({tuple(order) for order in [*orders, range(30)]}) == 4
        assert ImagePipeline(train, SPEC, batch_size=8, shuffle=True, seed=2).order(0).tolist() != orders[0]

    def test_batches_follow_the_order(self, train: Split) -> None:
        pipeline = ImagePipeline(train, SPEC, batch_size=8, shuffle=True, seed=1)
        images = np.concatenate([images for images, _ in epoch_of(pipeline, 1)])
        for pixels, index in zip(images, pipeline.order(1), strict=True):
            np.testing.assert_array_equal(pixels, preprocess(train.image(index), SPEC)[0])

    def test_a_resumed_training_sees_the_same_batches(self, train: Split) -> None:
        options = {"batch_size": 8, "augmentation": FULL, "shuffle": True, "seed": 9}
        unbroken = ImagePipeline(train, SPEC, **options)
        epochs = [epoch_of(unbroken, epoch) for epoch in range(3)]
        assert_same(epochs[2], epoch_of(ImagePipeline(train, SPEC, **options), 2))
        assert_same(epochs[1], epoch_of(unbroken, 1))
        assert any((one[0] != other[0]).any() for one, other in zip(epochs[0], epochs[1], strict=True))

    def test_threads_change_nothing(self, train: Split) -> None:
        options = {"batch_size": 4, "augmentation": FULL, "shuffle": True, "seed": 3}
        one, many = (ImagePipeline(train, SPEC, workers=workers, **options) for workers in (1, 4))
        assert_same(epoch_of(one), epoch_of(many))

    def test_batch_size_changes_no_image(self, train: Split) -> None:
        options = {"augmentation": FULL, "shuffle": True, "seed": 3}
        small, large = (ImagePipeline(train, SPEC, batch_size=size, **options) for size in (7, 30))
        joined = np.concatenate([images for images, _ in epoch_of(small)])
        np.testing.assert_array_equal(joined, epoch_of(large)[0][0])


class TestCache:
    @pytest.mark.parametrize(
        "augmentation", [None, FULL, Augmentation(crop_scale=None)], ids=["none", "full", "no crop"]
    )
    def test_its_size_changes_nothing(self, train: Split, augmentation: Augmentation | None) -> None:
        options = {"batch_size": 8, "augmentation": augmentation, "shuffle": True}
        all_of_it = ImagePipeline(train, SPEC, **options)
        some = ImagePipeline(train, SPEC, cache_bytes=60_000, **options)
        none = ImagePipeline(train, SPEC, cache_bytes=0, **options)
        assert len(all_of_it._cache) == 30
        assert 0 < len(some._cache) < 30
        assert some._cache.bytes <= 60_000
        assert len(none._cache) == 0
        for epoch in range(2):
            expected = epoch_of(all_of_it, epoch)
            assert_same(expected, epoch_of(some, epoch))
            assert_same(expected, epoch_of(none, epoch))

    def test_cached_images_need_no_file(self, tmp_path: Path) -> None:
        folder = ImageFolder(write_image_folder(Scenes(12), tmp_path))
        pipeline = ImagePipeline(folder.split("train"), SPEC, batch_size=4, augmentation=FULL, shuffle=True)
        first = epoch_of(pipeline, 1)
        for path in tmp_path.rglob("*.jpg"):
            path.unlink()
        assert_same(first, epoch_of(pipeline, 1))

    def test_without_crops_it_holds_the_networks_pixels(self, train: Split) -> None:
        cache = ImageCache(train, SPEC, Augmentation(crop_scale=None), 1 << 30)
        assert cache.fill(workers=2) == ()
        assert cache.bytes == 30 * 24 * 32 * 3

    @pytest.mark.parametrize("size", [(900, 1600), (3000, 700)])
    def test_large_images_are_shrunk_but_no_crop_is_enlarged(self, tmp_path: Path, size: tuple[int, int]) -> None:
        path = tmp_path / "large.jpg"
        cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8))
        needed = smallest_source(SPEC, FULL)
        image = shrink(decode(path, reduce_for=needed), needed)
        height, width = image.shape[:2]
        assert width / height == pytest.approx(size[1] / size[0], rel=0.02)
        assert height * width < 0.1 * size[0] * size[1]
        least_share, (narrowest, widest) = FULL.crop_scale[0], FULL.crop_aspect
        area, ratio = height * width * least_share, SPEC.width / SPEC.height
        assert (area * ratio * narrowest) ** 0.5 >= SPEC.width - 1
        assert (area / ratio / widest) ** 0.5 >= SPEC.height - 1

    def test_images_that_are_not_much_larger_stay_as_they_are(self) -> None:
        image = np.zeros((60, 80, 3), np.uint8)
        assert shrink(image, PreprocSpec(height=45, width=60)) is image
        assert shrink(image, PreprocSpec(height=90, width=120)) is image


class TestBadImages:
    @pytest.fixture
    def damaged(self, tmp_path: Path) -> Split:
        """30 images, of which one is text and one a PNG with zeros in its pixel data, behind a good header."""
        root = write_image_folder(Scenes(30), tmp_path)
        split = ImageFolder(root).split("train")
        split.image(3).write_text("this is no image")
        data = bytearray(cv2.imencode(".png", Scenes(30).image(17))[1].tobytes())
        data[len(data) // 3 : len(data) // 3 + 40] = bytes(40)
        split.image(17).write_bytes(data)
        return split

    def test_they_are_reported_and_left_out(self, damaged: Split, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING):
            pipeline = ImagePipeline(damaged, SPEC, batch_size=8)
        assert [item.index for item in pipeline.bad] == [3, 17]
        assert len(pipeline) == 28
        assert pipeline.steps == 4
        assert "2 of 30 images cannot be used and are left out" in caplog.text
        assert damaged.name(3) in caplog.text
        assert damaged.name(17) in caplog.text
        labels = np.concatenate([labels for _, labels in epoch_of(pipeline)])
        assert labels.tolist() == [damaged.label(index) for index in range(30) if index not in (3, 17)]

    def test_the_others_keep_their_order_and_their_pixels(self, damaged: Split, train: Split) -> None:
        options = {"batch_size": 30, "augmentation": FULL, "shuffle": True, "seed": 5}
        whole, partial = ImagePipeline(train, SPEC, **options), ImagePipeline(damaged, SPEC, **options)
        kept = ~np.isin(whole.order(1), [3, 17])
        assert partial.order(1).tolist() == whole.order(1)[kept].tolist()
        np.testing.assert_array_equal(epoch_of(partial, 1)[0][0], epoch_of(whole, 1)[0][0][kept])

    def test_damage_that_only_decoding_shows_costs_a_warning_not_the_training(
        self, damaged: Split, caplog: pytest.LogCaptureFixture
    ) -> None:
        pipeline = ImagePipeline(damaged, SPEC, batch_size=8, cache_bytes=0)
        assert [item.index for item in pipeline.bad] == [3]
        with caplog.at_level(logging.WARNING):
            sizes = [[len(labels) for _, labels in epoch_of(pipeline, epoch)] for epoch in range(2)]
        assert sizes == [[8, 8, 7, 5]] * 2  # index 17 is the 17th usable one, in the third batch
        assert caplog.text.count("is left out of its batches") == 1

    def test_a_batch_of_which_nothing_is_left_raises(self, tmp_path: Path) -> None:
        split = ImageFolder(write_image_folder(Scenes(12), tmp_path)).split("train")
        pipeline = ImagePipeline(split, SPEC, batch_size=4, cache_bytes=0)
        for sample in split.samples:
            sample.path.unlink()
        with pytest.raises(ImageError, match="no such file"):
            pipeline.batch(0, pipeline.order(0)[:4])

    def test_a_class_without_any_good_image(self, tmp_path: Path) -> None:
        split = ImageFolder(write_image_folder(Scenes(12), tmp_path)).split("train")
        for sample in split.samples:
            if sample.label == 1:
                sample.path.write_bytes(b"")
        with pytest.raises(
            InvalidInput, match=r"no image of class cross can be used; the first: .*000001\.jpg: is empty"
        ):
            ImagePipeline(split, SPEC, batch_size=4)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"batch_size": 0}, "batch size must be at least 1, not 0"),
        ({"batch_size": 8, "workers": 0}, "number of workers must be at least 1, not 0"),
        ({"batch_size": 8, "seed": -1}, "seed must be 0 or more, not -1"),
        ({"batch_size": 64, "drop_remainder": True}, "30 images make no batch of 64"),
    ],
)
def test_refusals(train: Split, options: dict, sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        ImagePipeline(train, SPEC, **options)


def test_batches_come_without_tensorflow() -> None:
    program = (
        "import sys; from cvserve.data import *; from cvserve.artifact import PreprocSpec\n"
        "pipeline = ImagePipeline(open_dataset('scenes?count=6'), PreprocSpec(height=32, width=32), batch_size=6,"
        " augmentation=Augmentation(), shuffle=True)\n"
        "assert pipeline.batch(0, pipeline.order(0))[0].shape == (6, 32, 32, 3)\n"
        "assert not {'tensorflow', 'keras', 'onnxruntime'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_photos(shared: Path) -> None:
    """The cached, augmented epoch of real photos equals the uncached one."""
    val = open_dataset(shared / "data/flowers", "val")
    few = val.without(range(40, len(val)))
    spec, options = PreprocSpec(height=128, width=128), {"batch_size": 16, "augmentation": FULL, "shuffle": True}
    pipeline = ImagePipeline(few, spec, **options)
    assert pipeline.bad == ()
    assert_same(epoch_of(pipeline, 3), epoch_of(ImagePipeline(few, spec, cache_bytes=0, **options), 3))
