"""Data sets as YOLO's tools take them: one text file an image, a line an object."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from cvserve.data.objects import Objects
from cvserve.data.readers.annotated import AnnotatedImage, AnnotatedSplit, check_images
from cvserve.data.readers.boxes import BoxReport, check_boxes
from cvserve.data.readers.class_folder import ALL, SPLIT_FOLDERS
from cvserve.data.readers.scan import find_images, subfolders
from cvserve.data.readers.splits import Sides, numbered
from cvserve.data.readers.splitting import SPLITS
from cvserve.errors import ImageError, InvalidInput
from cvserve.parallel import ordered_map
from cvserve.preproc import read_header
from cvserve.preproc.source import read_file

LOOKED_FOR = "data.yaml, or images/<side>/ and labels/<side>/ with *.txt (YOLO)"

_YAML = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_MOST_CLASSES = 10_000
_NAMES = ("classes.txt", "obj.names", "labels/classes.txt")


@dataclass(frozen=True)
class _Layout:
    """names: of the classes by number, or None. sides: folders of images, or lists of images, of each side."""

    names: tuple[str, ...] | None
    sides: dict[str, tuple[Path, ...]]
    source: Path


def find_yolo(root: Path, classes: Sequence[str] | None = None) -> Sides[AnnotatedSplit] | None:
    """The sides of a folder in YOLO's layout; None for other folders.

    data.yaml names the classes ("names", a list or numbers to names) and the sides ("train", "val", "test": a folder of
    images, a text file that lists images, or several; relative to "path" or to the file). Without it, images lie
    in images/<side>/ and labels in labels/<side>/, or in <side>/images/ and <side>/labels/, or in images/ and labels/
    in one piece, and the classes in classes.txt, a name a line.

    Args:
        classes: label order of a trained model, matched by name.
    """
    layout = _find(root)
    if layout is None:
        return None

    def read(split: str) -> AnnotatedSplit:
        return _read(root, split, layout, classes)

    return Sides(root, tuple(layout.sides), read)


def _find(root: Path) -> _Layout | None:
    described = next((root / name for name in _YAML if (root / name).is_file()), None)
    if described is not None:
        return _from_yaml(root, described)
    sides: dict[str, tuple[Path, ...]] = {}
    if (root / "images").is_dir() and (root / "labels").is_dir():
        for folder in subfolders(root / "images"):
            if folder.name.lower() in SPLIT_FOLDERS:
                sides[SPLIT_FOLDERS[folder.name.lower()]] = (folder,)
        sides = sides or {ALL: (root / "images",)}
    else:
        for folder in subfolders(root):
            if folder.name.lower() in SPLIT_FOLDERS and (folder / "images").is_dir() and (folder / "labels").is_dir():
                sides[SPLIT_FOLDERS[folder.name.lower()]] = (folder / "images",)
    if not sides:
        return None
    ordered = {name: sides[name] for name in (*SPLITS, ALL) if name in sides}
    return _Layout(_names_of_lines(root), ordered, root)


def _from_yaml(root: Path, path: Path) -> _Layout | None:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise InvalidInput(f"{path}{line}: is not valid YAML ({getattr(error, 'problem', error)})") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict) or "names" not in content:
        raise InvalidInput(f"{path}: is no description of a data set for YOLO: it has no names of classes")
    base = root / str(content.get("path") or ".")
    if not base.is_dir():
        base = root  # Written on another machine.
    sides = {}
    for split, key in (("train", "train"), ("val", "val"), ("val", "valid"), ("test", "test")):
        if content.get(key):
            sides[split] = tuple(_place(base, root, str(entry), path, key) for entry in _as_list(content[key]))
    if not sides:
        raise InvalidInput(f"{path}: it has neither train nor val nor test")
    return _Layout(_names(content["names"], path), sides, path)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _place(base: Path, root: Path, entry: str, path: Path, key: str) -> Path:
    """The folder or list that an entry means; Roboflow writes "../train/images" for what lies beside the file."""
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


def _read(root: Path, split: str, layout: _Layout, classes: Sequence[str] | None) -> AnnotatedSplit:
    files = [image for place in layout.sides[split] for image in _images(place)]
    texts = [_label_file(image) for image in files]
    lines = {text: _read_lines(text) for text in texts if text.is_file()}
    if files and not lines:
        raise InvalidInput(
            f"{layout.source}: not one of the {len(files)} images of {split} has a file of labels; the first would "
            f"be {texts[0]}"
        )
    names = layout.names or _numbers_as_names(lines, classes)
    known = tuple(classes) if classes is not None else names
    label_of = {name: label for label, name in enumerate(known)}
    report = BoxReport()
    images = []
    sizes = ordered_map(_size, files, workers=min(8, os.cpu_count() or 1), ahead=64)
    for image, text, size in zip(files, texts, sizes, strict=True):
        name = image.relative_to(root).as_posix() if image.is_relative_to(root) else str(image)
        objects = _objects(lines.get(text, []), text, size, name, names, label_of, report)
        images.append(AnnotatedImage(image, name, 0, size, objects))
    check_images(images, layout.source, split)
    without = sum(text not in lines for text in texts)
    return AnnotatedSplit(
        str(root),
        split,
        known,
        tuple(range(1, len(known) + 1)),
        numbered(images),
        tuple(report.dropped),
        tuple(report.clipped),
        f"{without} images have no file of labels and count as empty" if without else "",
    )


def _images(place: Path) -> list[Path]:
    if place.is_dir():
        return list(find_images(place).images)
    try:
        lines = place.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{place} cannot be read as a list of images: {error}") from error
    return [place.parent / line.strip() for line in lines if line.strip()]


def _label_file(image: Path) -> Path:
    """labels/.../x.txt of images/.../x.jpg, by the last folder called images; where there is none, beside it."""
    parts = list(image.parent.parts)
    for index in reversed(range(len(parts))):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts, image.stem + ".txt")


@dataclass(frozen=True)
class _Line:
    """One object. number: class. box: x1, y1, x2, y2 in shares of the sides. line: from 1."""

    number: int
    box: tuple[float, float, float, float]
    line: int


def _read_lines(path: Path) -> list[_Line]:
    """The objects of a file: "class cx cy w h", or "class x1 y1 x2 y2 x3 y3 ..." of a polygon, taken as its box."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from error
    found = []
    for line, text in enumerate(lines, 1):
        fields = text.split()
        if not fields:
            continue
        where = f"{path}, line {line}"
        try:
            number, *values = (float(value) for value in fields)
        except ValueError:
            raise InvalidInput(f"{where}: {text.strip()!r} is not made of numbers") from None
        if number < 0 or not number.is_integer():
            raise InvalidInput(f"{where}: {fields[0]} is no number of a class")
        if len(values) == 4:
            x, y, width, height = values
            box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        elif len(values) >= 6 and len(values) % 2 == 0:
            box = (min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2]))
        else:
            raise InvalidInput(
                f"{where}: a class and {len(values)} numbers, where 4 (cx cy w h) or the points of a polygon belong"
            )
        found.append(_Line(int(number), box, line))
    return found


def _numbers_as_names(lines: dict[Path, list[_Line]], classes: Sequence[str] | None) -> tuple[str, ...]:
    """Where nothing names the classes: those of a trained model, or the numbers themselves."""
    if classes is not None:
        return tuple(classes)
    most = max((item.number for items in lines.values() for item in items), default=0)
    if most >= _MOST_CLASSES:
        text = next(text for text, items in lines.items() if any(item.number == most for item in items))
        raise InvalidInput(f"{text}: class {most} is beyond the {_MOST_CLASSES} that are taken without their names")
    return tuple(str(number) for number in range(most + 1))


def _size(image: Path) -> tuple[int, int] | None:
    """(width, height) of the upright image; None where its header cannot be read, which a pipeline reports."""
    try:
        return read_header(read_file(image, str(image)), name=str(image)).size
    except ImageError:
        return None


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
    called = [f"{names[item.number]} ({path.name}, line {item.line})" for item in lines]
    boxes = np.array([item.box for item in lines], np.float64).reshape(-1, 4) * scale
    usable, kept = check_boxes(boxes, size, image, called, report)
    return Objects.of(usable, [label_of[names[lines[index].number]] for index in kept])
