"""Data sets of Pascal VOC: JPEGImages/, Annotations/*.xml and ImageSets/Main/<split>.txt."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from cvserve.data.objects import Objects
from cvserve.data.splitting import SPLITS
from cvserve.errors import InvalidInput, NotFound

_log = logging.getLogger(__name__)

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
_LARGEST_XML = 16 << 20
_OVERHANG = 2.0
"""Pixels that a box may reach out of its picture, by rounding; it is clipped without a word."""


@dataclass(frozen=True)
class Dropped:
    """A box that is not used. picture: its name. what: the object. reason: why."""

    picture: str
    what: str
    reason: str

    def __str__(self) -> str:
        return f"{self.picture}: {self.what} {self.reason}"


@dataclass(frozen=True)
class _Annotation:
    image: Path
    names: tuple[str, ...]
    boxes: tuple[tuple[float, float, float, float], ...]
    difficult: tuple[bool, ...]


class VocFolder:
    """One split of a folder in the layout of Pascal VOC, as a `DetectionSource`.

    Difficult objects are ignored: not trained on, and neither right nor wrong when found. Empty boxes and those
    outside of their picture are dropped and reported (log "cvserve.data.voc" and `dropped`); boxes that reach out of it
    are clipped.

    Args:
        split: a list in ImageSets/Main.
        classes: label order of a trained model; None: every name that the annotations of all lists have, sorted.

    Raises:
        NotFound: no such folder, list or annotation. InvalidInput: a file that cannot be used; the text names it.
    """

    def __init__(self, folder: str | Path, split: str, *, classes: Sequence[str] | None = None) -> None:
        self.folder, self.split = Path(folder), split
        dropped: list[Dropped] = []
        self._annotations = [_read(self.folder, name, dropped) for name in _listed(self.folder, split)]
        self.dropped = tuple(dropped)
        if not self._annotations:
            raise InvalidInput(f"{self.folder}: the list of {split} has no pictures")
        self.classes = tuple(classes) if classes is not None else self._all_names()
        known = {name: index for index, name in enumerate(self.classes)}
        for annotation in self._annotations:
            for name in annotation.names:
                if name not in known:
                    raise InvalidInput(
                        f"{annotation.image.stem}.xml has an object {name!r}; the classes are {', '.join(self.classes)}"
                    )
        self._objects = [
            Objects.of(item.boxes, [known[name] for name in item.names], item.difficult) for item in self._annotations
        ]
        if dropped:
            shown = "; ".join(map(str, dropped[:5])) + (f"; and {len(dropped) - 5} more" if len(dropped) > 5 else "")
            _log.warning("%s: %d boxes are left out: %s", split, len(dropped), shown)

    def __len__(self) -> int:
        return len(self._annotations)

    def image(self, index: int) -> Path:
        return self._annotations[index].image

    def name(self, index: int) -> str:
        return self._annotations[index].image.name

    def objects(self, index: int) -> Objects:
        return self._objects[index]

    def image_id(self, index: int) -> int:
        """index + 1."""
        return index + 1

    @property
    def category_ids(self) -> tuple[int, ...]:
        """1 to the number of classes."""
        return tuple(range(1, len(self.classes) + 1))

    def describe(self) -> str:
        count = sum(len(item) for item in self._objects)
        return (
            f"{self.folder.name} {self.split}: {len(self)} pictures with {count} objects in {len(self.classes)} "
            f"classes ({', '.join(self.classes)})"
        )

    def _all_names(self) -> tuple[str, ...]:
        names = {name for item in self._annotations for name in item.names}
        for other in SPLITS:
            if other != self.split and _list_file(self.folder, other).is_file():
                for stem in _listed(self.folder, other):
                    names.update(_read(self.folder, stem, []).names)
        return tuple(sorted(names))


def open_detection_folder(folder: str | Path, split: str, *, classes: Sequence[str] | None = None) -> VocFolder:
    """One split of a folder with boxes, whose layout is recognised.

    Raises:
        NotFound: no such folder. InvalidInput: no layout that is known.
    """
    path = Path(folder)
    if not path.is_dir():
        raise NotFound(f"no folder at {path}")
    if (path / "Annotations").is_dir() and (path / "ImageSets" / "Main").is_dir():
        return VocFolder(path, split, classes=classes)
    raise InvalidInput(
        f"{path} has no boxes that are known: Annotations/ and ImageSets/Main/ of Pascal VOC are missing"
    )


def _list_file(folder: Path, split: str) -> Path:
    return folder / "ImageSets" / "Main" / f"{split}.txt"


def _listed(folder: Path, split: str) -> list[str]:
    path = _list_file(folder, split)
    if not path.is_file():
        there = ", ".join(sorted(file.stem for file in path.parent.glob("*.txt"))) or "none"
        raise NotFound(f"{folder} has no list {split}; there are {there}")
    return [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.split()]


def _read(folder: Path, stem: str, dropped: list[Dropped]) -> _Annotation:
    path = folder / "Annotations" / f"{stem}.xml"
    if not path.is_file():
        raise NotFound(f"{path} is missing, which the lists of {folder} name")
    text = path.read_bytes()
    if len(text) > _LARGEST_XML or b"<!ENTITY" in text or b"<!DOCTYPE" in text:
        raise InvalidInput(f"{path} is no annotation: it is too large, or declares entities")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise InvalidInput(f"{path} is not valid XML: {error}") from error
    width, height = (_number(root, f"size/{side}", path) for side in ("width", "height"))
    names, boxes, difficult = [], [], []
    for item in root.iter("object"):
        name = (item.findtext("name") or "").strip()
        if not name:
            raise InvalidInput(f"{path} has an object without a name")
        x1, y1, x2, y2 = (_number(item, f"bndbox/{key}", path) for key in ("xmin", "ymin", "xmax", "ymax"))
        what = f"{name} [{x1:g}, {y1:g}, {x2:g}, {y2:g}]"
        # xmax and ymax are the last pixel, counted from 1: x2 and y2 as they are lie past it, xmin - 1 is the first.
        box = (max(x1 - 1, 0.0), max(y1 - 1, 0.0), min(x2, width), min(y2, height))
        if x2 <= x1 or y2 <= y1:
            dropped.append(Dropped(stem, what, "is empty"))
        elif box[2] - box[0] < 1 or box[3] - box[1] < 1:
            dropped.append(Dropped(stem, what, f"lies outside of its picture of {width:g} x {height:g}"))
        else:
            if max(1 - x1, 1 - y1, x2 - width, y2 - height) > _OVERHANG:
                _log.warning("%s: %s is clipped to its picture of %g x %g", stem, what, width, height)
            names.append(name)
            boxes.append(box)
            difficult.append((item.findtext("difficult") or "0").strip() == "1")
    return _Annotation(_image(folder, stem), tuple(names), tuple(boxes), tuple(difficult))


def _number(element: ElementTree.Element, key: str, path: Path) -> float:
    text = element.findtext(key)
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InvalidInput(f"{path}: {key} must be a number, not {text!r}")
    return value


def _image(folder: Path, stem: str) -> Path:
    for suffix in _SUFFIXES:
        path = folder / "JPEGImages" / f"{stem}{suffix}"
        if path.is_file():
            return path
    return folder / "JPEGImages" / f"{stem}.jpg"
