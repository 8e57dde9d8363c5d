"""Reads one annotation file of Pascal VOC.

Document types, and with them entities, are refused, so that no small file expands to a huge one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from cvserve.errors import InvalidInput

_LARGEST = 16 << 20
_DEEPEST = 64
_TRUE = frozenset({"1", "true", "yes"})


@dataclass(frozen=True)
class VocObject:
    """Holds an object. box: x1, y1, x2, y2 in pixels, measured at pixel edges. line: its first in the file, from 1."""

    name: str
    box: tuple[float, float, float, float]
    difficult: bool
    line: int


@dataclass(frozen=True)
class VocAnnotation:
    """Holds the content of a file. filename: of the image, "" if it is not stated. size: (width, height), or None."""

    filename: str
    size: tuple[int, int] | None
    objects: tuple[VocObject, ...]


@dataclass
class _Element:
    name: str
    line: int
    text: str = ""
    children: list[_Element] = field(default_factory=list)

    def find(self, path: str) -> _Element | None:
        element: _Element | None = self
        for name in path.split("/"):
            element = next((child for child in element.children if child.name == name), None) if element else None
        return element

    def value(self, path: str) -> str:
        found = self.find(path)
        return found.text.strip() if found else ""


class _Refused(Exception):
    """Reports XML that is refused; the text is the reason."""


def read_voc(path: Path) -> VocAnnotation:
    """Reads the annotation in a file.

    Boxes of VOC name their first and last pixel, counted from 1 (section 3.3 of the development kit's documentation,
    http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html): xmin - 1 and xmax are their edges. A box
    whose last pixel is not after its first comes out empty, since no annotator means an object of one pixel.

    Raises:
        InvalidInput: no such file, not XML, or something missing in it; the text names file and line.
    """
    try:
        size = path.stat().st_size
        if size > _LARGEST:
            raise InvalidInput(f"{path} has {size:,} bytes, too many for an annotation")
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise InvalidInput(f"{path}: there is no such annotation file") from error
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    try:
        root = _parse(data)
    except expat.ExpatError as error:
        reason = expat.errors.messages[error.code]
        raise InvalidInput(f"{path}, line {error.lineno}: is not well-formed XML ({reason})") from error
    except (_Refused, ValueError, LookupError) as error:
        raise InvalidInput(f"{path}: is not an annotation that can be read: {error}") from error
    if root.name != "annotation":
        raise InvalidInput(f"{path}: its root is <{root.name}>, where an annotation of Pascal VOC has <annotation>")
    objects = tuple(_object(item, path) for item in root.children if item.name == "object")
    return VocAnnotation(root.value("filename"), _size(root, path), objects)


def _parse(data: bytes) -> _Element:
    parser = expat.ParserCreate()
    parser.buffer_text = True
    top = _Element("", 0)
    open_elements = [top]

    def start(name: str, _: dict[str, str]) -> None:
        if len(open_elements) > _DEEPEST:
            raise _Refused(f"its elements are nested more than {_DEEPEST} deep")
        element = _Element(name, parser.CurrentLineNumber)
        open_elements[-1].children.append(element)
        open_elements.append(element)

    def end(_: str) -> None:
        open_elements.pop()

    def characters(text: str) -> None:
        open_elements[-1].text += text

    def refuse(*_: object) -> None:
        raise _Refused("it declares a document type, which annotations do not need")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = characters, refuse
    parser.Parse(data, True)
    return top.children[0]


def _object(item: _Element, path: Path) -> VocObject:
    where = f"{path}, line {item.line}"
    name = item.value("name")
    if not name:
        raise InvalidInput(f"{where}: the object has no name")
    if item.find("bndbox") is None:
        raise InvalidInput(f"{where}: the object {name!r} has no bndbox")
    x1, y1, x2, y2 = (_number(item, f"bndbox/{key}", where) for key in ("xmin", "ymin", "xmax", "ymax"))
    # An empty one stays empty instead of growing to a pixel.
    left, top = (x1 - 1 if x2 > x1 else x1), (y1 - 1 if y2 > y1 else y1)
    return VocObject(name, (left, top, x2, y2), item.value("difficult").lower() in _TRUE, item.line)


def _size(root: _Element, path: Path) -> tuple[int, int] | None:
    """Returns the image's size that the file states; some tools write 0 for an unknown one, which gives None."""
    size = root.find("size")
    if size is None:
        return None
    width, height = (_number(root, f"size/{side}", f"{path}, line {size.line}") for side in ("width", "height"))
    return (round(width), round(height)) if width > 0 and height > 0 else None


def _number(element: _Element, key: str, where: str) -> float:
    """Returns a finite number, or NaN or infinity where the file has it in a box, which is dropped and reported."""
    text = element.value(key)
    try:
        value = float(text)
    except ValueError:
        raise InvalidInput(f"{where}: {key} must be a number, not {text!r}") from None
    if not math.isfinite(value) and key.startswith("size"):
        raise InvalidInput(f"{where}: {key} must be a finite number, not {text!r}")
    return value
