"""Data sets in COCO's JSON: one file of all annotations of a side."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cvserve.data.annotated import AnnotatedPicture, AnnotatedSplit, check_pictures
from cvserve.data.boxes import BoxProblem, BoxReport, check_boxes
from cvserve.data.folder import ALL, SPLIT_FOLDERS
from cvserve.data.layout import Sides, unknown_class
from cvserve.data.objects import Objects
from cvserve.data.scan import subfolders
from cvserve.data.splitting import SPLITS
from cvserve.errors import InvalidInput

LOOKED_FOR = (
    "annotations/instances_{train,val}*.json, annotations.json beside the pictures, or _annotations.coco.json in "
    "train/ and val/ (COCO)"
)

_BESIDE = ("_annotations.coco.json", "annotations.json", "instances.json")


_NEEDED = {"images": ("id", "file_name"), "annotations": ("image_id", "category_id"), "categories": ("id", "name")}


@dataclass(frozen=True)
class _Category:
    category_id: Any
    name: str
    parent: str


def find_coco(root: Path, classes: Sequence[str] | None = None) -> Sides[AnnotatedSplit] | None:
    """The sides of a folder in one of COCO's layouts; None for other folders.

    annotations/instances_<side>*.json (or annotations/<side>.json) with the pictures in <side>*/, images/<side>*/,
    images/ or the folder itself; <side>/_annotations.coco.json as Roboflow writes it; or one annotations.json for all
    pictures.

    Args:
        classes: label order of a trained model, matched by name; None takes the categories of train by their numbers.
    """
    files = _find(root)
    if not files:
        return None

    def read(split: str) -> AnnotatedSplit:
        reference = files.get("train", files[split])
        known = tuple(classes) if classes is not None else None
        if known is None and reference != files[split]:
            known = tuple(item.name for item in _categories(_load(reference), reference))
        return read_coco(files[split], split, classes=known, root=root)

    return Sides(root, tuple(files), read)


def read_coco(
    path: str | Path,
    split: str = ALL,
    *,
    classes: Sequence[str] | None = None,
    root: Path | None = None,
    pictures: Path | None = None,
) -> AnnotatedSplit:
    """One JSON file of instances.

    Crowds are ignored objects. Polygons and run-length masks are not read here; areas are those of the file. Numbers of
    pictures and categories stay as they are.

    Args:
        classes: label order, matched by name; None takes the file's categories by their numbers.
        root: the data set's folder, by default the file's.
        pictures: the folder of the pictures, by default the one beside the file in which the first picture lies.

    Raises:
        InvalidInput: it is no such file, or contradicts itself; the text names the file and the annotation.
    """
    path = Path(path)
    root = root or path.parent
    content = _load(path)
    categories = _categories(content, path)
    names = tuple(classes) if classes is not None else tuple(item.name for item in categories)
    if not names:
        raise InvalidInput(f"{path}: it has no categories")
    label_of = {name: label for label, name in enumerate(names)}
    labels = {item.category_id: label_of.get(item.name, -1) for item in categories}
    called = {item.category_id: item.name for item in categories}
    by_image = _by_image(content, path)
    for item in content["annotations"]:
        number = item["category_id"]
        if number not in called:
            raise InvalidInput(f"{path}: annotation {item.get('id')} is of category {number}, which is not there")
        if labels[number] < 0:
            raise unknown_class(f"{path}: annotation {item.get('id')}", called[number], names)
    images = content["images"]
    folder = pictures or _picture_folder(root, path, split, images)
    own_numbers = all(type(image["id"]) is int for image in images)
    report = BoxReport()
    found = []
    for index, image in enumerate(images):
        file = folder / image["file_name"]
        name = file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)
        size = _size(image, path)
        objects = _objects(by_image[image["id"]], labels, called, size, name, path, report)
        found.append(AnnotatedPicture(file, name, image["id"] if own_numbers else index + 1, size, objects))
    check_pictures(found, path, split)
    return AnnotatedSplit(
        str(root),
        split,
        names,
        _category_ids(names, categories),
        tuple(found),
        tuple(report.dropped),
        tuple(report.clipped),
    )


def _find(root: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    folder = root / "annotations"
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        match = re.fullmatch(r"(?:instances_)?(train|valid(?:ation)?|val|test)[-_]?\d*", path.stem)
        if match:
            found.setdefault(SPLIT_FOLDERS[match[1]], path)
    for side in subfolders(root):
        name = SPLIT_FOLDERS.get(side.name.lower())
        beside = next((side / file for file in _BESIDE if (side / file).is_file()), None)
        if name is not None and beside is not None:
            found.setdefault(name, beside)
    if found:
        return {name: found[name] for name in SPLITS if name in found}
    whole = next((root / file for file in _BESIDE if (root / file).is_file()), None)
    if whole is None and folder.is_dir():
        whole = next((folder / file for file in _BESIDE if (folder / file).is_file()), None)
    return {ALL: whole} if whole else {}


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise InvalidInput(f"{path}, line {error.lineno}: is not valid JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is not valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise InvalidInput(f"{path}: is no file of instances: it holds a {type(content).__name__}, not an object")
    for key, needed in _NEEDED.items():
        items = content.get(key)
        if not isinstance(items, list):
            raise InvalidInput(f"{path}: is no file of instances: it has no list {key!r}")
        for number, item in enumerate(items):
            missing = [field for field in needed if not isinstance(item, dict) or not _is_key(item.get(field))]
            if missing:
                raise InvalidInput(f"{path}: {key}[{number}] has no {missing[0]!r}")
    numbers = Counter(image["id"] for image in content["images"])
    if numbers and (most := numbers.most_common(1)[0])[1] > 1:
        raise InvalidInput(f"{path}: {most[1]} images have the id {most[0]}")
    return content


def _is_key(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _categories(content: dict[str, Any], path: Path) -> tuple[_Category, ...]:
    """The categories by their numbers, less the one that Roboflow adds as the parent of all others."""
    items = [_Category(item["id"], str(item["name"]), str(item.get("supercategory"))) for item in content["categories"]]
    used = {item.get("category_id") for item in content["annotations"]}
    parents = {item.parent for item in items if item.parent != item.name}
    kept = [
        item
        for item in items
        if not (item.name in parents and item.parent == "none" and item.category_id not in used and len(items) > 1)
    ]
    for what, values in (("id", [item.category_id for item in items]), ("name", [item.name for item in kept])):
        value, times = Counter(values).most_common(1)[0] if values else (None, 0)
        if times > 1:
            raise InvalidInput(f"{path}: {times} categories have the {what} {value!r}")
    if all(isinstance(item.category_id, int) for item in kept):
        kept.sort(key=lambda item: item.category_id)
    return tuple(kept)


def _category_ids(names: tuple[str, ...], categories: tuple[_Category, ...]) -> tuple[int, ...]:
    """The number of each class: the file's own where they are numbers, and new ones for classes that it lacks."""
    own = {item.name: item.category_id for item in categories}
    if not all(type(number) is int for number in own.values()):
        return tuple(range(1, len(names) + 1))
    following = max(own.values(), default=0) + 1
    numbers = []
    for name in names:
        numbers.append(own.get(name, following))
        following += name not in own
    return tuple(numbers)


def _by_image(content: dict[str, Any], path: Path) -> dict[Any, list[dict[str, Any]]]:
    """Annotations by their pictures' numbers."""
    grouped: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
    for item in content["annotations"]:
        if item["image_id"] not in grouped:
            raise InvalidInput(
                f"{path}: annotation {item.get('id')} is of image {item['image_id']}, which is not there"
            )
        grouped[item["image_id"]].append(item)
    return grouped


def _objects(
    annotations: list[dict[str, Any]],
    labels: dict[Any, int],
    called: dict[Any, str],
    size: tuple[int, int] | None,
    picture: str,
    path: Path,
    report: BoxReport,
) -> Objects:
    boxes, used = [], []
    for item in annotations:
        box = item.get("bbox")
        if not box:
            what = f"{called[item['category_id']]} ({path.name}, annotation {item.get('id')})"
            report.dropped.append(BoxProblem(picture, what, "has no box"))
            continue
        if not isinstance(box, list) or len(box) != 4 or not all(_is_number(value) for value in box):
            raise InvalidInput(
                f"{path}: annotation {item.get('id')} has the bbox {box}, where x, y, width, height belong"
            )
        left, top, width, height = map(_float, box)
        boxes.append((left, top, left + width, top + height))
        used.append(item)
    names = [f"{called[item['category_id']]} ({path.name}, annotation {item.get('id')})" for item in used]
    usable, kept = check_boxes(np.array(boxes, np.float64), size, picture, names, report)
    used = [used[index] for index in kept]
    areas = (usable[:, 2] - usable[:, 0]) * (usable[:, 3] - usable[:, 1])
    for index, item in enumerate(used):
        if _is_number(item.get("area")) and 0 < _float(item["area"]) < math.inf:
            areas[index] = item["area"]
    return Objects.of(
        usable,
        [labels[item["category_id"]] for item in used],
        [bool(item.get("iscrowd")) or bool(item.get("ignore")) for item in used],
        areas,
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _float(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _size(image: dict[str, Any], path: Path) -> tuple[int, int] | None:
    width, height = image.get("width"), image.get("height")
    if width is None or height is None:
        return None
    if not all(_is_number(side) and 0 < _float(side) < math.inf for side in (width, height)):
        raise InvalidInput(f"{path}: image {image['id']} has the size {width} x {height}")
    return round(width), round(height)


def _picture_folder(root: Path, path: Path, split: str, images: list[dict[str, Any]]) -> Path:
    """The folder below which the first picture that is there lies."""
    stem = re.sub(r"^(instances_)?", "", path.stem)
    candidates = [
        *(path.parent, path.parent / "images") * (path.parent.name != "annotations"),
        *(root / stem, root / "images" / stem, root / split, root / "images" / split, root / "images", root),
    ]
    for image in images[:100]:
        for folder in candidates:
            if (folder / image["file_name"]).is_file():
                return folder
    return next((folder for folder in candidates if folder.is_dir()), root)
