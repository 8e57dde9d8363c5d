"""Layouts of images and masks, and what is wrong with single files."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from image_files import exif_block, jpeg_with_exif
from mask_files import painted, random_labels, write_camvid, write_pair

from cvserve.artifact import PreprocSpec
from cvserve.data import SegmentationPipeline, SplitFractions, open_dataset
from cvserve.data.readers.mask_folder import voc_color
from cvserve.errors import ImageError, InvalidInput, NotFound

SPEC = PreprocSpec(height=24, width=32, resize="exact")
NAMES = "sky\nroad\ncar\nUnlabelled\n"

# Where the image and the mask "a" of train, and those of val, are.
LAYOUTS = {
    "camvid": ("{side}/images/a.png", "{side}/masks/a.png"),
    "labels beside": ("{side}/images/a.png", "{side}/labels/a.png"),
    "ade20k": ("images/{long}/a.png", "annotations/{long}/a.png"),
    "by kind": ("images/{side}/a.png", "masks/{side}/a.png"),
    "segnet": ("{side}/a.png", "{side}annot/a.png"),
    "camvid of kaggle": ("{side}/a.png", "{side}_labels/a_L.png"),
    "carvana": ("{side}/a.png", "{side}_masks/a_mask.png"),
}
LONG = {"train": "training", "val": "validation"}


def open_(root: Path, split: str = "train", **options: object):
    return open_dataset(root, split, task="segmentation", **options)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path: Path, layout: str) -> None:
    (tmp_path / "classes.txt").write_text(NAMES)
    for seed, side in enumerate(("train", "val")):
        image, mask = (tmp_path / text.format(side=side, long=LONG[side]) for text in LAYOUTS[layout])
        write_pair(image, mask, random_labels(10, 14, seed))
    for seed, side in enumerate(("train", "val")):
        split = open_(tmp_path, side)
        assert (len(split), split.split, split.classes) == (1, side, ("sky", "road", "car"))
        assert split.name(0) == LAYOUTS[layout][0].format(side=side, long=LONG[side])
        np.testing.assert_array_equal(split.mask(0), random_labels(10, 14, seed))
        assert split.verify() == ()
    with pytest.raises(NotFound, match="there is no split 'test'; it has train, val"):
        open_(tmp_path, "test")


def test_one_piece_is_divided(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text(NAMES)
    for seed in range(40):
        write_pair(tmp_path / "images" / f"{seed}.png", tmp_path / "masks" / f"{seed}.png", random_labels(8, 9, seed))
    fractions = SplitFractions(train=0.6, val=0.2, test=0.2)
    sides = [open_(tmp_path, side, fractions=fractions) for side in ("train", "val", "test")]
    names = [side.name(index) for side in sides for index in range(len(side))]
    assert len(names) == len(set(names)) == 40
    assert len(open_(tmp_path, "all")) == 40
    assert "has no splits: val is the" in sides[1].describe()
    for side in sides:
        seed = int(Path(side.name(0)).stem)
        np.testing.assert_array_equal(side.mask(0), random_labels(8, 9, seed))


class TestVoc:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        image = pytest.importorskip("PIL.Image")
        lists = tmp_path / "ImageSets" / "Segmentation"
        for folder in (lists, tmp_path / "JPEGImages", tmp_path / "SegmentationClass"):
            folder.mkdir(parents=True)
        palette = [part for value in range(256) for part in voc_color(value)]
        for name in ("2007_000032", "2007_000033", "2007_000039"):
            cv2.imwrite(str(tmp_path / "JPEGImages" / f"{name}.jpg"), np.zeros((8, 9, 3), np.uint8))
        for name, value in (("2007_000032", 1), ("2007_000039", 20)):
            labels = np.full((8, 9), value, np.uint8)
            labels[0], labels[1] = 0, 255
            mask = image.fromarray(labels, mode="P")
            mask.putpalette(palette)
            mask.save(tmp_path / "SegmentationClass" / f"{name}.png")
        (lists / "train.txt").write_text("2007_000032\n")
        (lists / "val.txt").write_text("2007_000039\n")
        return tmp_path

    def test_lists_are_the_splits_and_the_classes_are_known(self, root: Path) -> None:
        train, val = open_(root), open_(root, "val")
        assert (train.name(0), val.name(0)) == ("JPEGImages/2007_000032.jpg", "JPEGImages/2007_000039.jpg")
        assert (train.classes[0], train.classes[1], train.classes[20]) == ("background", "aeroplane", "tvmonitor")
        assert train.colors[1] == (128, 0, 0)
        assert len(train.colors) == len(train.classes) == 21
        assert train.mask(0)[:, 0].tolist() == [0, 255, *[1] * 6]
        assert val.mask(0)[:, 0].tolist() == [0, 255, *[20] * 6]

    def test_colors_of_the_development_kit(self) -> None:
        # The first, some in the middle, and the rim.
        expected = {0: (0, 0, 0), 8: (64, 0, 0), 9: (192, 0, 0), 15: (192, 128, 128), 20: (0, 64, 128)}
        assert {value: voc_color(value) for value in expected} == expected
        assert voc_color(255) == (224, 224, 192)

    def test_masks_in_colors(self, root: Path) -> None:
        path = root / "SegmentationClass" / "2007_000032.png"
        cv2.imwrite(str(path), np.full((8, 9, 3), voc_color(15)[::-1], np.uint8))
        assert (open_(root).mask(0) == 15).all()


class TestProblems:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        return write_camvid(tmp_path, {"train": 4, "val": 1})

    @pytest.mark.parametrize("cache_bytes", [1 << 30, 0])
    @pytest.mark.parametrize("fault", ["missing", "damaged", "size", "image", "jpeg"])
    def test_a_pair_that_cannot_be_used_is_reported_and_left_out(
        self, root: Path, fault: str, cache_bytes: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        image, mask = root / "train" / "images" / "2.png", root / "train" / "masks" / "2.png"
        reason = "train/images/2.png: its mask train/masks/2.png cannot be used: "
        if fault == "missing":
            mask.unlink()
            reason += "no such file"
        elif fault == "damaged":
            mask.write_bytes(mask.read_bytes()[:50])
        elif fault == "size":
            cv2.imwrite(str(mask), np.zeros((64, 48), np.uint8))
            reason += "is 48 x 64 pixels, its image 64 x 48"
        elif fault == "jpeg":
            mask.write_bytes(cv2.imencode(".jpg", np.zeros((48, 64), np.uint8))[1].tobytes())
            reason += "is a JPEG; masks must be PNG"
        else:
            image.write_bytes(b"nothing")
            reason = "train/images/2.png: "
        split = open_(root)
        assert [str(bad).startswith(reason) for bad in split.verify()] == [True]
        with pytest.raises(ImageError, match=r"train/images/2.png: "):
            split.mask(2)
        with caplog.at_level(logging.WARNING):
            pipeline = SegmentationPipeline(split, SPEC, batch_size=4, cache_bytes=cache_bytes)
        assert pipeline.order().tolist() == [0, 1, 3]
        assert [str(bad).startswith(reason) for bad in pipeline.bad] == [True]
        assert "1 of 4 images cannot be used and are left out: train/images/2.png" in caplog.text

    def test_a_value_of_no_class_stops_everything(self, root: Path) -> None:
        labels = np.zeros((48, 64), np.uint8)
        labels[5, 6] = 4
        cv2.imwrite(str(root / "train" / "masks" / "2.png"), labels)
        with pytest.raises(
            InvalidInput, match=r"train/masks/2.png: the pixel at x=6, y=5 has the value 4, .*classes.txt"
        ):
            SegmentationPipeline(open_(root), SPEC, batch_size=4)

    def test_no_classes_file(self, root: Path) -> None:
        (root / "classes.txt").unlink()
        with pytest.raises(
            InvalidInput, match=r"nothing names the classes of its masks; write .*classes.txt, a name a"
        ):
            open_(root)

    def test_no_mask_fits(self, root: Path) -> None:
        for path in (root / "train" / "masks").iterdir():
            path.rename(path.with_name(f"mask{path.name}"))
        with pytest.raises(InvalidInput, match="not one of the 4 masks has the name of one of the 4 images of train"):
            open_(root)

    def test_masks_without_an_image_are_counted(self, root: Path) -> None:
        (root / "train" / "images" / "1.png").unlink()
        split = open_(root)
        assert len(split) == 3
        assert split.describe().endswith("(sky, road, car); 1 masks without an image are not used")

    def test_neither_masks_nor_folder(self, tmp_path: Path) -> None:
        (tmp_path / "sub" / "train" / "images").mkdir(parents=True)
        with pytest.raises(InvalidInput, match="no data set for segmentation was found; looked for train/images/"):
            open_(tmp_path / "sub")
        with pytest.raises(NotFound, match="there is no such folder"):
            open_(tmp_path / "none")


def test_a_missing_val_is_divided_off(tmp_path: Path) -> None:
    root = write_camvid(tmp_path, {"train": 60})
    train, val = open_(root), open_(root, "val")
    assert len(train) + len(val) == 60
    assert 0 < len(val) < 20


def test_the_order_of_a_model(tmp_path: Path) -> None:
    root = write_camvid(tmp_path, {"train": 1})
    split = open_(
        root, "train", classes=("car", "sky", "road", "tree"), fractions=SplitFractions(train=1.0, val=0.0, test=0.0)
    )
    own = random_labels(48, 64, seed=5000)
    np.testing.assert_array_equal(split.mask(0), np.array([1, 2, 0, *[255] * 253], np.uint8)[own])
    with pytest.raises(InvalidInput, match=r"classes.txt: the model does not know the class 'road'; it knows sky, car"):
        open_(root, classes=("sky", "car"))


def test_an_image_stored_on_its_side(tmp_path: Path) -> None:
    """The mask is of the upright image."""
    (tmp_path / "classes.txt").write_text(NAMES)
    labels = random_labels(40, 64, 3, void=False)
    for folder in ("images", "masks"):
        (tmp_path / "train" / folder).mkdir(parents=True)
    stored = cv2.rotate(painted(labels), cv2.ROTATE_90_COUNTERCLOCKWISE)
    data = cv2.imencode(".jpg", stored[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    (tmp_path / "train" / "images" / "a.jpg").write_bytes(jpeg_with_exif(data, exif_block(6)))
    for mask in (labels, cv2.rotate(labels, cv2.ROTATE_90_COUNTERCLOCKWISE)):
        cv2.imwrite(str(tmp_path / "train" / "masks" / "a.png"), mask)
        split = open_(tmp_path, fractions=SplitFractions(train=1.0, val=0.0, test=0.0))
        np.testing.assert_array_equal(split.mask(0), labels)
        spec = PreprocSpec(height=40, width=64, resize="exact")
        images, shown = SegmentationPipeline(split, spec, batch_size=1).batch(0, np.array([0]))
        np.testing.assert_array_equal(shown[0], labels)
        assert np.abs(images[0].astype(int) - painted(labels)).mean() < 8


def test_camvid(shared: Path) -> None:
    splits = [open_(shared / "data" / "camvid", side) for side in ("train", "val", "test")]
    assert [len(split) for split in splits] == [367, 101, 233]
    assert splits[0].classes == (
        *("Sky", "Building", "Pole", "Road", "Pavement", "Tree"),
        *("SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist"),
    )
    path = shared / "data" / "camvid" / "train" / "masks" / "0001TP_006690.png"
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert splits[0].name(0) == "train/images/0001TP_006690.jpg"
    np.testing.assert_array_equal(splits[0].mask(0), np.where(stored == 11, 255, stored))
