"""Reads folders of images with a mask file for each, paired by their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cvserve.data.masks import VOID
from cvserve.data.readers.annotated import ImageFiles
from cvserve.data.readers.base import SPLIT_FOLDERS, Reader, SplitFiles, in_order, read_text
from cvserve.data.readers.mask_classes import FILES, ClassTable, MaskClass, find_class_table, table_of
from cvserve.data.readers.mask_png import check_mask, read_mask
from cvserve.data.readers.masked import LabelledImage, MaskedSplit
from cvserve.data.readers.scan import subfolders
from cvserve.data.splits import ALL, SPLITS
from cvserve.errors import InvalidInput
from cvserve.preproc import ImageHeader

_IMAGES = ("images", "Images", "JPEGImages")
_MASKS = ("masks", "annotations", "labels", "Masks", "SegmentationClass")
_BESIDE = ("{}annot", "{}_labels", "{}_masks")
_SPLIT_FOLDERS = {**SPLIT_FOLDERS, "training": "train"}
# What may follow the name of an image in the name of its mask.
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
    """Holds the path of a mask file. shown: its path in reports."""

    path: Path
    shown: str
    table: ClassTable

    def read(self, image: ImageHeader) -> np.ndarray:
        """Returns the label map; see `cvserve.data.readers.mask_png.read_mask`."""
        return read_mask(self.path, self.table, image, name=self.shown)

    def check(self, image: ImageHeader) -> None:
        """Checks the mask's header; see `cvserve.data.readers.mask_png.check_mask`."""
        check_mask(self.path, image, name=self.shown)


@dataclass(frozen=True)
class _SplitFolders:
    """Holds where a split's files are. listed: the file with the names of its images; None takes all of the folder."""

    images: Path
    masks: Path
    listed: Path | None = None


def recognise(root: Path, classes: Sequence[str] | None = None) -> SplitFiles[MaskedSplit] | None:
    """Finds the splits of a folder of images and masks; None for other folders.

    Each of train/, val/ (also valid/, validation/) and test/ has images/ and masks/ (or annotations/, labels/); or
    images/ and masks/ have a folder for each split (also training/); or trainannot/ (train_labels/, train_masks/) is
    beside train/; or images/ and masks/ are not divided. Of Pascal VOC the lists of ImageSets/Segmentation name the
    splits.

    A mask has the name of its image, or that name with "_L" or "_mask" after it. The classes are named by one of
    `cvserve.data.readers.mask_classes.FILES` in the folder; those of Pascal VOC need no such file.

    Args:
        classes: label order of a trained model, matched by name; None takes the order of the masks' values.

    Raises:
        InvalidInput: the classes are not named, or the model does not know one of them.
    """
    splits = {split: folders for split, folders in _find(root).items() if any(folders.masks.glob("*.png"))}
    if not splits:
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
    return SplitFiles(root, in_order(splits), lambda split: _read(root, split, splits[split], fitted))


def voc_table() -> ClassTable:
    """Returns the 20 classes of Pascal VOC and background, with the colours of its masks; 255 is the objects' rim."""
    entries = [MaskClass(value, name, voc_color(value)) for value, name in enumerate(_VOC_NAMES)]
    return table_of("Pascal VOC", [*entries, MaskClass(VOID, "void", voc_color(VOID), True)])


def voc_color(value: int) -> tuple[int, int, int]:
    """Returns the colour of a value in the palette of Pascal VOC's masks.

    The bits of the value go to red, green and blue in turn (VOCcode/VOClabelcolormap.m of the development kit).
    """
    color = [0, 0, 0]
    for bit in range(8):
        color[bit % 3] |= (value >> bit & 1) << (7 - bit // 3)
    return color[0], color[1], color[2]


def _find(root: Path) -> dict[str, _SplitFolders]:
    """Returns the folders of each split; only a folder that is not divided has "all"."""
    folders: dict[str, _SplitFolders] = {}
    for folder in subfolders(root):
        split = _SPLIT_FOLDERS.get(folder.name.lower())
        if split is None:
            continue
        images, masks = _first(folder, _IMAGES), _first(folder, _MASKS)
        if images and masks:
            folders[split] = _SplitFolders(images, masks)
        elif beside := _first(root, [name.format(folder.name) for name in _BESIDE]):
            folders[split] = _SplitFolders(folder, beside)
    images, masks = _first(root, _IMAGES), _first(root, _MASKS)
    if not folders and images and masks:
        for folder in subfolders(masks):
            split = _SPLIT_FOLDERS.get(folder.name.lower())
            if split is not None and (images / folder.name).is_dir():
                folders[split] = _SplitFolders(images / folder.name, folder)
        lists = root / "ImageSets" / "Segmentation"
        for name in SPLITS:
            if not folders.get(name) and (lists / f"{name}.txt").is_file():
                folders[name] = _SplitFolders(images, masks, lists / f"{name}.txt")
        if not folders:
            folders[ALL] = _SplitFolders(images, masks)
    return folders


def _first(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def _read(root: Path, split: str, folders: _SplitFolders, table: ClassTable) -> MaskedSplit:
    files = ImageFiles(folders.images)
    masks = {path.stem: path for path in sorted(folders.masks.iterdir()) if path.suffix.lower() == ".png"}
    stems = [path.stem for path in files] if folders.listed is None else read_text(folders.listed).split()
    images, used = [], set()
    for stem in stems:
        image = files.find(stem) or folders.images / f"{stem}.jpg"
        mask = next(
            (masks[stem + ending] for ending in _ENDINGS if stem + ending in masks), folders.masks / f"{stem}.png"
        )
        used.add(mask.stem)
        labels = MaskFile(mask, mask.relative_to(root).as_posix(), table)
        images.append(LabelledImage(image, image.relative_to(root).as_posix(), labels))
    if images and not used & masks.keys():
        raise InvalidInput(
            f"{folders.masks}: not one of the {len(masks)} masks has the name of one of the {len(images)} images of "
            f"{split}, such as {images[0].path.stem}.png"
        )
    unused = len(masks.keys() - used) if folders.listed is None else 0
    note = f"{unused} masks without an image are not used" if unused else ""
    return MaskedSplit(
        origin=str(root), split=split, classes=table.classes, colors=table.colors, images=tuple(images), note=note
    )


READER = Reader(
    task="segmentation",
    looked_for=(
        "train/images/ with train/masks/*.png, images/train/ with masks/train/ (or annotations, labels), train/ with "
        "trainannot/, images/ with masks/, or JPEGImages/ with SegmentationClass/ (Pascal VOC)"
    ),
    recognise=recognise,
)
