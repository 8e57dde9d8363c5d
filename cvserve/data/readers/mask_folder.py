"""Folders of images with a mask file each, paired by their names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cvserve.data.masks import VOID
from cvserve.data.readers.annotated import ImageFiles
from cvserve.data.readers.class_folder import ALL, SPLIT_FOLDERS
from cvserve.data.readers.class_table import FILES, ClassTable, MaskClass, find_class_table, table_of
from cvserve.data.readers.mask_png import check_mask, read_mask
from cvserve.data.readers.masked import LabelledImage, MaskedSplit
from cvserve.data.readers.scan import subfolders
from cvserve.data.readers.splits import Sides
from cvserve.data.readers.splitting import SPLITS
from cvserve.errors import InvalidInput
from cvserve.preproc import ImageHeader

LOOKED_FOR = (
    "train/images/ with train/masks/*.png, images/train/ with masks/train/ (or annotations, labels), train/ with "
    "trainannot/, images/ with masks/, or JPEGImages/ with SegmentationClass/ (Pascal VOC)"
)

_IMAGES = ("images", "Images", "JPEGImages")
_MASKS = ("masks", "annotations", "labels", "Masks", "SegmentationClass")
_BESIDE = ("{}annot", "{}_labels", "{}_masks")
_SIDES = {**SPLIT_FOLDERS, "training": "train"}
# How masks are called after their images.
_ENDINGS = ("", "_L", "_mask")

_VOC_NAMES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)


@dataclass(frozen=True)
class MaskFile:
    """A mask as a file. shown: its path as reports call it."""

    path: Path
    shown: str
    table: ClassTable

    def read(self, image: ImageHeader) -> np.ndarray:
        """See `cvserve.data.readers.mask_png.read_mask`."""
        return read_mask(self.path, self.table, image, name=self.shown)

    def check(self, image: ImageHeader) -> None:
        """See `cvserve.data.readers.mask_png.check_mask`."""
        check_mask(self.path, image, name=self.shown)


@dataclass(frozen=True)
class _Side:
    """Where a side's files are. listed: the file with the names of its images; None takes all of the folder."""

    images: Path
    masks: Path
    listed: Path | None = None


def find_mask_folder(root: Path, classes: Sequence[str] | None = None) -> Sides[MaskedSplit] | None:
    """The sides of a folder of images and masks; None for other folders.

    Each of train/, val/ (also valid/, validation/) and test/ has images/ and masks/ (or annotations/, labels/); or
    images/ and masks/ have a folder for each side (also training/); or trainannot/ (train_labels/, train_masks/) stands
    beside train/; or images/ and masks/ are in one piece. Of Pascal VOC the lists of ImageSets/Segmentation are the
    sides.

    A mask is called as its image, or the same with "_L" or "_mask" after it. The classes are named by one of
    `cvserve.data.readers.class_table.FILES` in the folder; those of Pascal VOC need no such file.

    Args:
        classes: label order of a trained model, matched by name; None takes the order of the masks' values.

    Raises:
        InvalidInput: the classes are not named, or the model does not know one of them.
    """
    sides = {side: place for side, place in _find(root) if any(place.masks.glob("*.png"))}
    if not sides:
        return None
    table = find_class_table(root)
    if table is None:
        if (root / "SegmentationClass").is_dir():
            table = voc_table()
        else:
            raise InvalidInput(
                f"{root}: nothing names the classes of its masks; write {root / FILES[1]}, a name a line, the first "
                f"being value 0 (or {FILES[0]}, for colours and more)"
            )
    fitted = table.fitted(classes)
    names = tuple(name for name in (*SPLITS, ALL) if name in sides)
    return Sides(root, names, lambda split: _read(root, split, sides[split], fitted))


def voc_table() -> ClassTable:
    """The 20 classes of Pascal VOC and background, with the colours of its masks; 255 is the rim of objects."""
    entries = [MaskClass(value, name, voc_color(value)) for value, name in enumerate(_VOC_NAMES)]
    return table_of("Pascal VOC", [*entries, MaskClass(VOID, "void", voc_color(VOID), True)])


def voc_color(value: int) -> tuple[int, int, int]:
    """The palette of Pascal VOC's masks: the bits of the value are dealt out to red, green and blue, three each time
    (VOCcode/VOClabelcolormap.m of the development kit)."""
    color = [0, 0, 0]
    for bit in range(8):
        color[bit % 3] |= (value >> bit & 1) << (7 - bit // 3)
    return color[0], color[1], color[2]


def _find(root: Path) -> Iterator[tuple[str, _Side]]:
    """The sides by name; a folder that is divided has no "all"."""
    found: dict[str, _Side] = {}
    for folder in subfolders(root):
        side = _SIDES.get(folder.name.lower())
        if side is None:
            continue
        images, masks = _first(folder, _IMAGES), _first(folder, _MASKS)
        if images and masks:
            found[side] = _Side(images, masks)
        elif beside := _first(root, [name.format(folder.name) for name in _BESIDE]):
            found[side] = _Side(folder, beside)
    images, masks = _first(root, _IMAGES), _first(root, _MASKS)
    if not found and images and masks:
        for folder in subfolders(masks):
            side = _SIDES.get(folder.name.lower())
            if side is not None and (images / folder.name).is_dir():
                found[side] = _Side(images / folder.name, folder)
        lists = root / "ImageSets" / "Segmentation"
        for name in SPLITS:
            if not found.get(name) and (lists / f"{name}.txt").is_file():
                found[name] = _Side(images, masks, lists / f"{name}.txt")
        if not found:
            found[ALL] = _Side(images, masks)
    yield from found.items()


def _first(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def _read(root: Path, split: str, side: _Side, table: ClassTable) -> MaskedSplit:
    files = ImageFiles(side.images)
    masks = {path.stem: path for path in sorted(side.masks.iterdir()) if path.suffix.lower() == ".png"}
    if side.listed is None:
        stems = [path.stem for path in files]
    else:
        try:
            stems = side.listed.read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(f"{side.listed} cannot be read: {error}") from error
    images, used = [], set()
    for stem in stems:
        image = files.find(stem) or side.images / f"{stem}.jpg"
        mask = next((masks[stem + ending] for ending in _ENDINGS if stem + ending in masks), side.masks / f"{stem}.png")
        used.add(mask.stem)
        labels = MaskFile(mask, mask.relative_to(root).as_posix(), table)
        images.append(LabelledImage(image, image.relative_to(root).as_posix(), labels))
    if images and not used & masks.keys():
        raise InvalidInput(
            f"{side.masks}: not one of the {len(masks)} masks is called as one of the {len(images)} images of "
            f"{split}, such as {images[0].path.stem}.png"
        )
    unused = len(masks.keys() - used) if side.listed is None else 0
    note = f"{unused} masks without an image are not used" if unused else ""
    return MaskedSplit(str(root), split, table.classes, table.colors, tuple(images), note)
