"""Reads which values of mask files are which classes, from classes.txt and files like it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from cvserve.data.masks import VOID
from cvserve.errors import InvalidInput

FILES = ("classes.yaml", "classes.txt", "label_colors.txt", "class_dict.csv")
"""The files in which a data set may name its classes; the first that exists counts."""

VOID_NAMES = frozenset({"void", "unlabelled", "unlabeled", "ignore", "ignored", "dontcare"})
"""Class names, in upper or lower case, that mean void: their pixels are neither learned nor scored."""

Color = tuple[int, int, int]

_TRIPLE = r"(\d+)[\s,;]+(\d+)[\s,;]+(\d+)"
_COLOR_FIRST = re.compile(rf"{_TRIPLE}[\s,;]+(.+)")
_COLOR_LAST = re.compile(rf"(.+?)[\s,;]+{_TRIPLE}")
_NUMBERED = re.compile(r"(\d+)[\s,:;]+(.+)")
_HEADER = re.compile(r"(class_)?names?[\s,;]+r(ed)?[\s,;]+g(reen)?[\s,;]+b(lue)?", re.IGNORECASE)


@dataclass(frozen=True)
class MaskClass:
    """Holds the meaning of one value of mask files. value: in index and palette masks. color: in RGB masks."""

    value: int
    name: str
    color: Color | None = None
    void: bool = False


@dataclass(frozen=True)
class ClassTable:
    """Holds the classes of a data set, in the order of their values, and the values that are void.

    origin: the file that it comes from. classes: label order. entries: of all values, also the void ones.
    """

    origin: str
    classes: tuple[str, ...]
    entries: tuple[MaskClass, ...]

    @property
    def colors(self) -> tuple[Color, ...]:
        """Returns the RGB of each class, in label order; empty where not every class has one."""
        known = {item.name: item.color for item in self.entries if not item.void}
        colors = [known.get(name) for name in self.classes]
        return tuple(color for color in colors if color is not None) if None not in colors else ()

    def label(self, item: MaskClass) -> int:
        """Returns the label of an entry; `VOID` for those that are void."""
        return VOID if item.void else self.classes.index(item.name)

    @property
    def by_value(self) -> dict[int, int]:
        """Returns a mapping from values of index and palette masks to labels; 255 is always `VOID`."""
        return {item.value: self.label(item) for item in self.entries} | {VOID: VOID}

    @property
    def by_color(self) -> dict[Color, int]:
        """Returns a mapping from RGB to labels; empty where no entry has a colour."""
        return {item.color: self.label(item) for item in self.entries if item.color is not None}

    def fitted(self, classes: Sequence[str] | None) -> ClassTable:
        """Returns the table with the label order of a trained model, matched by name.

        Raises:
            InvalidInput: the data set has a class that the model does not know.
        """
        if classes is None:
            return self
        unknown = [name for name in self.classes if name not in classes]
        if unknown:
            raise InvalidInput(
                f"{self.origin}: the model does not know the class {unknown[0]!r}; it knows {', '.join(classes)}"
            )
        return ClassTable(self.origin, tuple(classes), self.entries)


def table_of(origin: str, entries: Sequence[MaskClass]) -> ClassTable:
    """Checks entries and puts them in the order of their values.

    Raises:
        InvalidInput: no class, a value over 255, or a value, name or colour that two entries have.
    """
    entries = sorted(entries, key=lambda item: item.value)
    names = tuple(item.name for item in entries if not item.void)
    if not names:
        raise InvalidInput(f"{origin}: it has no classes")
    seen: dict[Any, str] = {}
    for item in entries:
        if not 0 <= item.value <= VOID or (item.value == VOID and not item.void):
            raise InvalidInput(f"{origin}: class {item.name!r} has the value {item.value}; classes have 0 to 254")
        if item.color is not None and max(item.color) > 255:
            raise InvalidInput(f"{origin}: class {item.name!r} has the colour {item.color}, over 255")
        own: list[tuple[str, Any]] = [("value", item.value), ("color", item.color)]
        for key in own + ([] if item.void else [("name", item.name)]):
            if key[1] is not None and key in seen:
                raise InvalidInput(f"{origin}: {seen[key]!r} and {item.name!r} have the same {key[0]} {key[1]}")
            seen[key] = item.name
    return ClassTable(origin, names, tuple(entries))


def find_class_table(folder: Path) -> ClassTable | None:
    """Reads the first of `FILES` that is in the folder; None where there is none of them."""
    path = next((folder / name for name in FILES if (folder / name).is_file()), None)
    return None if path is None else read_class_table(path)


def read_class_table(path: Path) -> ClassTable:
    """Reads the classes of a data set.

    Of a text file each line is a class, the first being value 0 of index masks: "Sky", "Sky 128 128 128" or
    "128 128 128 Sky" (RGB; spaces, tabs, commas or semicolons between). Where every line begins with a number, as
    "11 Unlabelled", it is the value. A class whose name is among `VOID_NAMES` is void. Empty lines and lines that
    begin with "# " are ignored. The same in YAML:

        classes:
          - Sky
          - {name: Building, colour: [128, 0, 0], value: 4}
          - {name: Sticker, void: true}
        void: [30]

    where value continues from the one before, and void lists more values without a class.

    Raises:
        InvalidInput: the file cannot be read, or has another form.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from error
    return table_of(str(path), _of_yaml(path, text) if path.suffix in (".yaml", ".yml") else _of_text(text))


def _of_text(text: str) -> list[MaskClass]:
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("# ")]
    if lines and _HEADER.fullmatch(lines[0]):
        lines = lines[1:]
    described: list[tuple[str, Color | None]] = []
    for line in lines:
        color: Color | None = None
        if match := _COLOR_FIRST.fullmatch(line):
            color, line = (int(match[1]), int(match[2]), int(match[3])), match[4]
        elif match := _COLOR_LAST.fullmatch(line):
            color, line = (int(match[2]), int(match[3]), int(match[4])), match[1]
        described.append((line, color))
    numbered = [_NUMBERED.fullmatch(name) for name, _ in described]
    found = []
    for index, ((name, color), match) in enumerate(zip(described, numbered, strict=True)):
        value = index
        if match is not None and all(numbered):
            value, name = int(match[1]), match[2]
        found.append(MaskClass(value, name, color, name.lower() in VOID_NAMES))
    return found


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    color: tuple[int, int, int] | None = Field(default=None, validation_alias=AliasChoices("color", "colour"))
    value: int | None = None
    void: bool | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    classes: list[str | _Entry] = Field(min_length=1)
    void: list[int] = []


def _of_yaml(path: Path, text: str) -> list[MaskClass]:
    try:
        content = _File.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise InvalidInput(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        fault = error.errors()[0]
        raise InvalidInput(f"{path}: {'.'.join(map(str, fault['loc'])) or 'it'}: {fault['msg']}") from error
    found, value = [], 0
    for item in content.classes:
        entry = _Entry(name=item) if isinstance(item, str) else item
        value = value if entry.value is None else entry.value
        void = entry.name.lower() in VOID_NAMES if entry.void is None else entry.void
        found.append(MaskClass(value, entry.name, entry.color, void))
        value += 1
    return found + [MaskClass(value, "void", None, True) for value in content.void if value != VOID]
