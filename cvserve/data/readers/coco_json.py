"""Finds and checks COCO's JSON files of instances, which hold the boxes and the masks of a split."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvserve.data.readers.base import SPLIT_FOLDERS, in_order
from cvserve.data.readers.scan import subfolders
from cvserve.data.splits import ALL
from cvserve.errors import InvalidInput

LOOKED_FOR = (
    "annotations/instances_{train,val}*.json, annotations.json beside the images, or _annotations.coco.json in "
    "train/ and val/ (COCO)"
)

_BESIDE = ("_annotations.coco.json", "annotations.json", "instances.json")
_NEEDED = {"images": ("id", "file_name"), "annotations": ("image_id", "category_id"), "categories": ("id", "name")}


@dataclass(frozen=True)
class Category:
    """Holds a category of a file. category_id: a number or a text. parent: its supercategory."""

    category_id: Any
    name: str
    parent: str


def find_files(root: Path) -> dict[str, Path]:
    """Returns the files of the splits "train", "val", "test", or of "all"; see `cvserve.data.readers.coco_boxes`."""
    files: dict[str, Path] = {}
    folder = root / "annotations"
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        match = re.fullmatch(r"(?:instances_)?(train|valid(?:ation)?|val|test)[-_]?\d*", path.stem)
        if match:
            files.setdefault(SPLIT_FOLDERS[match[1]], path)
    for subfolder in subfolders(root):
        name = SPLIT_FOLDERS.get(subfolder.name.lower())
        beside = next((subfolder / file for file in _BESIDE if (subfolder / file).is_file()), None)
        if name is not None and beside is not None:
            files.setdefault(name, beside)
    if files:
        return {name: files[name] for name in in_order(files)}
    candidates = [directory / file for directory in (root, folder) for file in _BESIDE]
    undivided = next((path for path in candidates if path.is_file()), None)
    return {ALL: undivided} if undivided else {}


def load_instances(path: Path) -> dict[str, Any]:
    """Reads a file. Its lists of images, annotations and categories are checked to have their ids and names.

    Raises:
        InvalidInput: it cannot be read, or lacks them.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise InvalidInput(f"{path}, line {error.lineno}: is not valid JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is not valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise InvalidInput(f"{path}: is not a file of instances: it holds a {type(content).__name__}, not an object")
    for key, needed in _NEEDED.items():
        items = content.get(key)
        if not isinstance(items, list):
            raise InvalidInput(f"{path}: is not a file of instances: it has no list {key!r}")
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


def categories_of(content: dict[str, Any], path: Path) -> tuple[Category, ...]:
    """Returns the categories by their ids, less the one that Roboflow adds as the parent of all others."""
    items = [Category(item["id"], str(item["name"]), str(item.get("supercategory"))) for item in content["categories"]]
    used = {item.get("category_id") for item in content["annotations"]}
    parents = {item.parent for item in items if item.parent != item.name}
    named = [
        item
        for item in items
        if not (item.name in parents and item.parent == "none" and item.category_id not in used and len(items) > 1)
    ]
    for what, values in (("id", [item.category_id for item in items]), ("name", [item.name for item in named])):
        value, times = Counter(values).most_common(1)[0] if values else (None, 0)
        if times > 1:
            raise InvalidInput(f"{path}: {times} categories have the {what} {value!r}")
    if all(isinstance(item.category_id, int) for item in named):
        named.sort(key=lambda item: item.category_id)
    return tuple(named)


def annotations_by_image(content: dict[str, Any], path: Path) -> dict[Any, list[dict[str, Any]]]:
    """Returns the annotations of each image, by the images' ids."""
    grouped: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
    for item in content["annotations"]:
        if item["image_id"] not in grouped:
            raise InvalidInput(
                f"{path}: annotation {item.get('id')} is of image {item['image_id']}, which is not there"
            )
        grouped[item["image_id"]].append(item)
    return grouped


def is_number(value: Any) -> bool:
    """Returns whether a value of JSON is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def as_float(value: int | float) -> float:
    """Converts a number of JSON, whose integers have no limit; those too large for a float become infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def stated_size(image: dict[str, Any], path: Path) -> tuple[int, int] | None:
    """Returns (width, height) that the file states for an image; None where it does not."""
    width, height = image.get("width"), image.get("height")
    if width is None or height is None:
        return None
    if not all(is_number(side) and 0 < as_float(side) < math.inf for side in (width, height)):
        raise InvalidInput(f"{path}: image {image['id']} has the size {width} x {height}")
    return round(width), round(height)


def image_folder(root: Path, path: Path, split: str, images: list[dict[str, Any]]) -> Path:
    """Returns the folder that holds the first image that exists."""
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
