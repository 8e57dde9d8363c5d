"""COCO's JSON of instances: which file is of which side, and what each must have, boxes and masks aside."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvserve.data.readers.class_folder import ALL, SPLIT_FOLDERS
from cvserve.data.readers.scan import subfolders
from cvserve.data.readers.splitting import SPLITS
from cvserve.errors import InvalidInput

_BESIDE = ("_annotations.coco.json", "annotations.json", "instances.json")
_NEEDED = {"images": ("id", "file_name"), "annotations": ("image_id", "category_id"), "categories": ("id", "name")}


@dataclass(frozen=True)
class Category:
    """A category. category_id: a number or a text. parent: its supercategory."""

    category_id: Any
    name: str
    parent: str


def find_files(root: Path) -> dict[str, Path]:
    """The files of the sides "train", "val", "test", or of "all"; see `cvserve.data.readers.coco.find_coco`."""
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


def load_instances(path: Path) -> dict[str, Any]:
    """The content of a file, with lists of images, annotations and categories that have their numbers and names.

    Raises:
        InvalidInput: it cannot be read, or is not like that.
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


def categories_of(content: dict[str, Any], path: Path) -> tuple[Category, ...]:
    """The categories by their numbers, less the one that Roboflow adds as the parent of all others."""
    items = [Category(item["id"], str(item["name"]), str(item.get("supercategory"))) for item in content["categories"]]
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


def annotations_by_image(content: dict[str, Any], path: Path) -> dict[Any, list[dict[str, Any]]]:
    """Annotations by their images' numbers."""
    grouped: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
    for item in content["annotations"]:
        if item["image_id"] not in grouped:
            raise InvalidInput(
                f"{path}: annotation {item.get('id')} is of image {item['image_id']}, which is not there"
            )
        grouped[item["image_id"]].append(item)
    return grouped


def is_number(value: Any) -> bool:
    """Whether a value of JSON is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def as_float(value: int | float) -> float:
    """A number of JSON, whose whole numbers have no limit."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def stated_size(image: dict[str, Any], path: Path) -> tuple[int, int] | None:
    """(width, height) that the file says of an image; None where it says nothing."""
    width, height = image.get("width"), image.get("height")
    if width is None or height is None:
        return None
    if not all(is_number(side) and 0 < as_float(side) < math.inf for side in (width, height)):
        raise InvalidInput(f"{path}: image {image['id']} has the size {width} x {height}")
    return round(width), round(height)


def image_folder(root: Path, path: Path, split: str, images: list[dict[str, Any]]) -> Path:
    """The folder below which the first image that is there lies."""
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
