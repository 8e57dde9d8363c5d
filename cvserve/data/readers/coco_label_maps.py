"""Reads COCO's polygons and run lengths as label maps for semantic segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cvserve.data.masks import VOID
from cvserve.data.readers.base import Reader, SplitFiles, check_exist, relative_name, unknown_class
from cvserve.data.readers.coco_json import (
    LOOKED_FOR,
    annotations_by_image,
    as_float,
    categories_of,
    find_files,
    image_folder,
    is_number,
    load_instances,
    stated_size,
)
from cvserve.data.readers.coco_run_lengths import run_lengths_of
from cvserve.data.readers.mask_classes import VOID_NAMES
from cvserve.data.readers.masked import LabelledImage, MaskedSplit
from cvserve.errors import ImageError, InvalidInput
from cvserve.postproc.masks import from_run_lengths
from cvserve.preproc import ImageHeader
from cvserve.preproc.exif import upright

BACKGROUND = "background"
"""The name of class 0: pixels of no object."""


@dataclass(frozen=True)
class CocoObject:
    """Holds an annotation. annotation_id: its id. label: a class, or `VOID`. segmentation: as in the file."""

    annotation_id: Any
    label: int
    segmentation: Any
    area: float
    crowd: bool


@dataclass(frozen=True)
class CocoLabels:
    """Holds the objects of one image. shown: the file's name. size: (width, height) that the file states, or None."""

    shown: str
    objects: tuple[CocoObject, ...]
    size: tuple[int, int] | None

    def read(self, image: ImageHeader) -> np.ndarray:
        """Paints the objects over the background: crowds first, then the others, the largest first.

        Of two objects that overlap, the smaller one is mostly in front.

        Returns:
            uint8 [H, W] of the upright image.

        Raises:
            ImageError: an object has no mask that can be used, or one of another size than the image.
        """
        width, height = self._size(image)
        labels = np.zeros((height, width), np.uint8)
        for item in sorted(self.objects, key=lambda item: (not item.crowd, -item.area)):
            labels[self._mask(item, height, width)] = item.label
        if (width, height) != image.size:
            return np.ascontiguousarray(upright(labels, image.orientation))
        return labels

    def check(self, image: ImageHeader) -> None:
        """Raises ImageError where the sizes differ, or an object has no mask."""
        self._size(image)
        for item in self.objects:
            if not item.segmentation:
                raise ImageError(self.shown, f"annotation {item.annotation_id} has no segmentation")

    def _size(self, image: ImageHeader) -> tuple[int, int]:
        """Returns (width, height) in which the objects are given: upright, or as the image is stored."""
        size = self.size or image.size
        if size not in (image.size, (image.width, image.height)):
            raise ImageError(
                self.shown, f"states {size[0]} x {size[1]} pixels, but the image has {image.size[0]} x {image.size[1]}"
            )
        return size

    def _mask(self, item: CocoObject, height: int, width: int) -> np.ndarray:
        """Returns the object's mask, bool [height, width]."""
        if not item.segmentation:
            raise ImageError(self.shown, f"annotation {item.annotation_id} has no segmentation")
        try:
            return from_run_lengths(run_lengths_of(item.segmentation, height, width), height, width)
        except InvalidInput as error:
            raise ImageError(self.shown, f"annotation {item.annotation_id}: {error}") from None


def recognise(root: Path, classes: Sequence[str] | None = None) -> SplitFiles[MaskedSplit] | None:
    """Finds the splits of a folder in one of COCO's layouts (see `coco_boxes.recognise`); None for other folders.

    Class 0 is "background", unless a category is called so; the others follow in the order of the categories' ids. A
    category whose name is among `VOID_NAMES` is void.

    Args:
        classes: label order of a trained model, matched by name; None takes the categories of train.
    """
    files = find_files(root)
    if not files:
        return None

    def read(split: str) -> MaskedSplit:
        reference = files.get("train", files[split])
        known = tuple(classes) if classes is not None else None
        if known is None and reference != files[split]:
            known = _class_names(load_instances(reference), reference)
        return read_coco_masks(files[split], split, classes=known, root=root)

    return SplitFiles(root, tuple(files), read)


def read_coco_masks(
    path: Path, split: str, *, classes: Sequence[str] | None = None, root: Path | None = None
) -> MaskedSplit:
    """Reads one JSON file of instances with masks.

    Raises:
        InvalidInput: it is no such file, or contradicts itself; the error names the file and the annotation.
    """
    root = root or path.parent
    content = load_instances(path)
    names = tuple(classes) if classes is not None else _class_names(content, path)
    name_of = {item.category_id: item.name for item in categories_of(content, path)}
    label_of = {name: label for label, name in enumerate(names)}
    by_image = annotations_by_image(content, path)
    for item in content["annotations"]:
        name = name_of.get(item["category_id"])
        if name is None:
            raise InvalidInput(
                f"{path}: annotation {item.get('id')} is of category {item['category_id']}, which is not there"
            )
        if name not in label_of and name.lower() not in VOID_NAMES:
            raise unknown_class(f"{path}: annotation {item.get('id')}", name, names)
    entries = content["images"]
    folder = image_folder(root, path, split, entries)
    shown = relative_name(path, root)
    images = []
    for entry in entries:
        file = folder / entry["file_name"]
        objects = tuple(
            CocoObject(
                item.get("id"),
                label_of.get(name_of[item["category_id"]], VOID),
                item.get("segmentation"),
                as_float(item["area"]) if is_number(item.get("area")) else 0.0,
                bool(item.get("iscrowd")),
            )
            for item in by_image[entry["id"]]
        )
        images.append(
            LabelledImage(file, relative_name(file, root), CocoLabels(shown, objects, stated_size(entry, path)))
        )
    check_exist(images, path, split)
    return MaskedSplit(origin=str(root), split=split, classes=names, images=tuple(images))


def _class_names(content: dict[str, Any], path: Path) -> tuple[str, ...]:
    names = [item.name for item in categories_of(content, path) if item.name.lower() not in VOID_NAMES]
    if not names:
        raise InvalidInput(f"{path}: it has no categories")
    ground = next((name for name in names if name.lower() == BACKGROUND), BACKGROUND)
    return (ground, *(name for name in names if name != ground))


READER = Reader(task="segmentation", looked_for=LOOKED_FOR, recognise=recognise)
