"""Reads boxes and instance masks in COCO's JSON: one file holds all annotations of a split."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cvserve.data.objects import Objects
from cvserve.data.problems import Problem
from cvserve.data.readers.annotated import AnnotatedImage, AnnotatedSplit
from cvserve.data.readers.base import Reader, SplitFiles, check_exist, relative_name, unknown_class
from cvserve.data.readers.boxes import BoxReport, check_boxes
from cvserve.data.readers.coco_json import (
    LOOKED_FOR,
    Category,
    annotations_by_image,
    as_float,
    categories_of,
    find_files,
    image_folder,
    is_number,
    load_instances,
    stated_size,
)
from cvserve.data.readers.coco_run_lengths import CocoMasks
from cvserve.data.splits import ALL
from cvserve.errors import InvalidInput


def recognise(root: Path, classes: Sequence[str] | None = None) -> SplitFiles[AnnotatedSplit] | None:
    """Finds the splits of a folder in one of COCO's layouts; None for other folders.

    annotations/instances_<split>*.json (or annotations/<split>.json) with the images in <split>*/, images/<split>*/,
    images/ or the folder itself; <split>/_annotations.coco.json as Roboflow writes it; or one annotations.json for all
    images.

    Args:
        classes: label order of a trained model, matched by name; None takes the categories of train by their numbers.
    """
    files = find_files(root)
    if not files:
        return None

    def read(split: str) -> AnnotatedSplit:
        reference = files.get("train", files[split])
        known = tuple(classes) if classes is not None else None
        if known is None and reference != files[split]:
            known = tuple(item.name for item in categories_of(load_instances(reference), reference))
        return read_coco(files[split], split, classes=known, root=root)

    return SplitFiles(root, tuple(files), read)


def read_coco(
    path: str | Path,
    split: str = ALL,
    *,
    classes: Sequence[str] | None = None,
    root: Path | None = None,
    images_folder: Path | None = None,
) -> AnnotatedSplit:
    """Reads one JSON file of instances.

    Crowds are ignored objects. Masks are read when they are asked for; areas are those of the file. The ids of images
    and categories stay as they are.

    Args:
        classes: label order, matched by name; None takes the file's categories by their numbers.
        root: the data set's folder, by default the file's.
        images_folder: the folder of the images, by default the one beside the file that holds the first image.

    Raises:
        InvalidInput: it is no such file, or contradicts itself; the error names the file and the annotation.
    """
    path = Path(path)
    root = root or path.parent
    content = load_instances(path)
    categories = categories_of(content, path)
    names = tuple(classes) if classes is not None else tuple(item.name for item in categories)
    if not names:
        raise InvalidInput(f"{path}: it has no categories")
    label_of = {name: label for label, name in enumerate(names)}
    labels = {item.category_id: label_of.get(item.name, -1) for item in categories}
    name_of = {item.category_id: item.name for item in categories}
    by_image = annotations_by_image(content, path)
    for item in content["annotations"]:
        number = item["category_id"]
        if number not in name_of:
            raise InvalidInput(f"{path}: annotation {item.get('id')} is of category {number}, which is not there")
        if labels[number] < 0:
            raise unknown_class(f"{path}: annotation {item.get('id')}", name_of[number], names)
    images = content["images"]
    folder = images_folder or image_folder(root, path, split, images)
    own_numbers = all(type(image["id"]) is int for image in images)
    with_masks = any(item.get("segmentation") for item in content["annotations"])
    report = BoxReport()
    annotated = []
    for index, image in enumerate(images):
        file = folder / image["file_name"]
        name = relative_name(file, root)
        size = stated_size(image, path)
        objects, used = _objects(by_image[image["id"]], labels, name_of, size, name, path, report)
        masks = CocoMasks(
            path.name, tuple(item.get("id") for item in used), tuple(item.get("segmentation") for item in used)
        )
        number = image["id"] if own_numbers else index + 1
        annotated.append(AnnotatedImage(file, name, number, size, objects, masks if with_masks else None))
    check_exist(annotated, path, split)
    return AnnotatedSplit(
        origin=str(root),
        split=split,
        classes=names,
        category_ids=_category_ids(names, categories),
        images=tuple(annotated),
        dropped=tuple(report.dropped),
        clipped=tuple(report.clipped),
    )


def _category_ids(names: tuple[str, ...], categories: tuple[Category, ...]) -> tuple[int, ...]:
    """Returns the id of each class: the file's own where they are numbers, and new ones for classes that it lacks."""
    own = {item.name: item.category_id for item in categories}
    if not all(type(number) is int for number in own.values()):
        return tuple(range(1, len(names) + 1))
    following = max(own.values(), default=0) + 1
    numbers = []
    for name in names:
        numbers.append(own.get(name, following))
        following += name not in own
    return tuple(numbers)


def _objects(
    annotations: list[dict[str, Any]],
    labels: dict[Any, int],
    name_of: dict[Any, str],
    size: tuple[int, int] | None,
    image: str,
    path: Path,
    report: BoxReport,
) -> tuple[Objects, list[dict[str, Any]]]:
    """Returns the objects of an image, and the annotations that they come from."""
    boxes, used = [], []
    for item in annotations:
        box = item.get("bbox")
        if not box:
            what = f"{name_of[item['category_id']]} ({path.name}, annotation {item.get('id')})"
            report.dropped.append(Problem(image, what, "has no box"))
            continue
        if not isinstance(box, list) or len(box) != 4 or not all(is_number(value) for value in box):
            raise InvalidInput(
                f"{path}: annotation {item.get('id')} has the bbox {box}, where x, y, width, height belong"
            )
        left, top, width, height = map(as_float, box)
        boxes.append((left, top, left + width, top + height))
        used.append(item)
    names = [f"{name_of[item['category_id']]} ({path.name}, annotation {item.get('id')})" for item in used]
    usable, indices = check_boxes(np.array(boxes, np.float64), size, image, names, report)
    used = [used[index] for index in indices]
    areas = (usable[:, 2] - usable[:, 0]) * (usable[:, 3] - usable[:, 1])
    for index, item in enumerate(used):
        if is_number(item.get("area")) and 0 < as_float(item["area"]) < math.inf:
            areas[index] = item["area"]
    objects = Objects.of(
        usable,
        [labels[item["category_id"]] for item in used],
        [bool(item.get("iscrowd")) or bool(item.get("ignore")) for item in used],
        areas,
    )
    return objects, used


READER = Reader(task="detection", looked_for=LOOKED_FOR, recognise=recognise)
