"""Reads data sets in the format of YOLO's tools: one text file per image, one line per object."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from cvserve.data.objects import Objects
from cvserve.data.readers.annotated import AnnotatedImage, AnnotatedSplit, numbered, upright_size
from cvserve.data.readers.base import (
    SPLIT_FOLDERS,
    Reader,
    SplitFiles,
    check_exist,
    in_order,
    read_text,
    relative_name,
)
from cvserve.data.readers.boxes import BoxReport, check_boxes
from cvserve.data.readers.scan import find_images, subfolders
from cvserve.data.splits import ALL
from cvserve.errors import InvalidInput
from cvserve.parallel import ordered_map

_YAML = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_MOST_CLASSES = 10_000
_NAMES = ("classes.txt", "obj.names", "labels/classes.txt")


@dataclass(frozen=True)
class _Description:
    """Describes a data set.

    names: of the classes by number, or None. splits: folders of images, or files that list images, of each split.
    source: the file or folder that this comes from, for errors.
    """

    names: tuple[str, ...] | None
    splits: dict[str, tuple[Path, ...]]
    source: Path


def recognise(root: Path, classes: Sequence[str] | None = None) -> SplitFiles[AnnotatedSplit] | None:
    """Finds the splits of a folder in YOLO's layout; None for other folders.

    data.yaml names the classes ("names", a list or numbers to names) and the splits ("train", "val", "test": a folder
    of images, a text file that lists images, or several; relative to "path" or to the file). Without it, images are in
    images/<split>/ and labels in labels/<split>/, or in <split>/images/ and <split>/labels/, or in images/ and labels/
    without splits, and the classes in classes.txt, one name per line.

    Args:
        classes: label order of a trained model, matched by name.
    """
    description = _find(root)
    if description is None:
        return None

    def read(split: str) -> AnnotatedSplit:
        return _read(root, split, description, classes)

    return SplitFiles(root, tuple(description.splits), read)


def _find(root: Path) -> _Description | None:
    yaml_file = next((root / name for name in _YAML if (root / name).is_file()), None)
    if yaml_file is not None:
        return _from_yaml(root, yaml_file)
    splits: dict[str, tuple[Path, ...]] = {}
    if (root / "images").is_dir() and (root / "labels").is_dir():
        for folder in subfolders(root / "images"):
            if folder.name.lower() in SPLIT_FOLDERS:
                splits[SPLIT_FOLDERS[folder.name.lower()]] = (folder,)
        splits = splits or {ALL: (root / "images",)}
    else:
        for folder in subfolders(root):
            if folder.name.lower() in SPLIT_FOLDERS and (folder / "images").is_dir() and (folder / "labels").is_dir():
                splits[SPLIT_FOLDERS[folder.name.lower()]] = (folder / "images",)
    if not splits:
        return None
    return _Description(_names_of_lines(root), {name: splits[name] for name in in_order(splits)}, root)


def _from_yaml(root: Path, path: Path) -> _Description | None:
    try:
        content = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise InvalidInput(f"{path}{line}: is not valid YAML ({getattr(error, 'problem', error)})") from error
    if not isinstance(content, dict) or "names" not in content:
        raise InvalidInput(f"{path}: does not describe a data set for YOLO: it has no names of classes")
    base = root / str(content.get("path") or ".")
    if not base.is_dir():
        base = root  # written on another machine
    splits = {}
    for split, key in (("train", "train"), ("val", "val"), ("val", "valid"), ("test", "test")):
        if content.get(key):
            splits[split] = tuple(_resolve(base, root, str(entry), path, key) for entry in _as_list(content[key]))
    if not splits:
        raise InvalidInput(f"{path}: it has neither train nor val nor test")
    return _Description(_names(content["names"], path), splits, path)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _resolve(base: Path, root: Path, entry: str, path: Path, key: str) -> Path:
    """Returns the folder or list that an entry names.

    Roboflow writes "../train/images" for a folder beside the file.
    """
    stripped = entry
    while stripped.startswith(("../", "./")):
        stripped = stripped.removeprefix("../").removeprefix("./")
    for candidate in (base / entry, root / entry, base / stripped, root / stripped):
        if candidate.exists():
            return candidate
    raise InvalidInput(f"{path}: {key} is {entry}, but {base / entry} is not there")


def _names(value: Any, path: Path) -> tuple[str, ...]:
    if isinstance(value, dict):
        if sorted(value) != list(range(len(value))):
            raise InvalidInput(f"{path}: names must be numbered from 0 without gaps, not {', '.join(map(str, value))}")
        value = [value[number] for number in range(len(value))]
    if not isinstance(value, list) or not value:
        raise InvalidInput(f"{path}: names must be a list of classes, not {value!r}")
    if not all(isinstance(name, str | int | float) for name in value):
        raise InvalidInput(f"{path}: the names of classes must be texts")
    names = tuple(str(name) for name in value)
    if len(set(names)) < len(names):
        raise InvalidInput(f"{path}: the class {max(names, key=names.count)!r} is named twice")
    return names


def _names_of_lines(root: Path) -> tuple[str, ...] | None:
    for name in _NAMES:
        path = root / name
        if path.is_file():
            lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
            return _names([line for line in lines if line], path)
    return None


def _read(root: Path, split: str, description: _Description, classes: Sequence[str] | None) -> AnnotatedSplit:
    files = [image for source in description.splits[split] for image in _images(source)]
    texts = [_label_file(image) for image in files]
    lines = {text: _read_lines(text) for text in texts if text.is_file()}
    if files and not lines:
        raise InvalidInput(
            f"{description.source}: not one of the {len(files)} images of {split} has a file of labels; the "
            f"first would be {texts[0]}"
        )
    names = description.names or _numbers_as_names(lines, classes)
    known = tuple(classes) if classes is not None else names
    label_of = {name: label for label, name in enumerate(known)}
    report = BoxReport()
    images = []
    sizes = ordered_map(upright_size, files, workers=min(8, os.cpu_count() or 1), ahead=64)
    for image, text, size in zip(files, texts, sizes, strict=True):
        name = relative_name(image, root)
        objects = _objects(lines.get(text, []), text, size, name, names, label_of, report)
        images.append(AnnotatedImage(image, name, 0, size, objects))
    check_exist(images, description.source, split)
    without = sum(text not in lines for text in texts)
    return AnnotatedSplit(
        origin=str(root),
        split=split,
        classes=known,
        category_ids=tuple(range(1, len(known) + 1)),
        images=numbered(images),
        dropped=tuple(report.dropped),
        clipped=tuple(report.clipped),
        note=f"{without} images have no file of labels and count as empty" if without else "",
    )


def _images(folder_or_list: Path) -> list[Path]:
    if folder_or_list.is_dir():
        return list(find_images(folder_or_list).images)
    lines = read_text(folder_or_list).splitlines()
    return [folder_or_list.parent / line.strip() for line in lines if line.strip()]


def _label_file(image: Path) -> Path:
    """Returns labels/.../x.txt for images/.../x.jpg, by the last folder called images; without one, x.txt beside it."""
    parts = list(image.parent.parts)
    for index in reversed(range(len(parts))):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts, image.stem + ".txt")


@dataclass(frozen=True)
class _Line:
    """Holds one object. number: class. box: x1, y1, x2, y2 as fractions of width and height. line: from 1."""

    number: int
    box: tuple[float, float, float, float]
    line: int


def _read_lines(path: Path) -> list[_Line]:
    """Reads the objects of a file.

    A line is "class cx cy w h", or "class x1 y1 x2 y2 x3 y3 ..." of a polygon, of which the box is taken.
    """
    lines = []
    for line, text in enumerate(read_text(path).splitlines(), 1):
        fields = text.split()
        if not fields:
            continue
        where = f"{path}, line {line}"
        try:
            number, *values = (float(value) for value in fields)
        except ValueError:
            raise InvalidInput(f"{where}: {text.strip()!r} is not made of numbers") from None
        if number < 0 or not number.is_integer():
            raise InvalidInput(f"{where}: {fields[0]} is not the number of a class")
        if len(values) == 4:
            x, y, width, height = values
            box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        elif len(values) >= 6 and len(values) % 2 == 0:
            box = (min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2]))
        else:
            raise InvalidInput(
                f"{where}: a class and {len(values)} numbers, where 4 (cx cy w h) or the points of a polygon belong"
            )
        lines.append(_Line(int(number), box, line))
    return lines


def _numbers_as_names(lines: dict[Path, list[_Line]], classes: Sequence[str] | None) -> tuple[str, ...]:
    """Returns the classes where nothing names them: those of a trained model, or the numbers themselves."""
    if classes is not None:
        return tuple(classes)
    most = max((item.number for items in lines.values() for item in items), default=0)
    if most >= _MOST_CLASSES:
        text = next(text for text, items in lines.items() if any(item.number == most for item in items))
        raise InvalidInput(f"{text}: class {most} is beyond the {_MOST_CLASSES} that are taken without their names")
    return tuple(str(number) for number in range(most + 1))


def _objects(
    lines: list[_Line],
    path: Path,
    size: tuple[int, int] | None,
    image: str,
    names: tuple[str, ...],
    label_of: dict[str, int],
    report: BoxReport,
) -> Objects:
    for item in lines:
        name = names[item.number] if item.number < len(names) else None
        if name is None or name not in label_of:
            shown = "" if name is None else f" ({name})"
            raise InvalidInput(
                f"{path}, line {item.line}: class {item.number}{shown} is not one of the {len(label_of)} classes "
                f"({', '.join(list(label_of)[:8])}{', ...' * (len(label_of) > 8)})"
            )
    if size is None:
        return Objects.of([], [])
    scale = np.array(size * 2, np.float64)
    descriptions = [f"{names[item.number]} ({path.name}, line {item.line})" for item in lines]
    boxes = np.array([item.box for item in lines], np.float64).reshape(-1, 4) * scale
    usable, indices = check_boxes(boxes, size, image, descriptions, report)
    return Objects.of(usable, [label_of[names[lines[index].number]] for index in indices])


READER = Reader(
    task="detection",
    looked_for="data.yaml, or images/<split>/ and labels/<split>/ with *.txt (YOLO)",
    recognise=recognise,
)
