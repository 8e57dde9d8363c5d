"""Gives images and classes the numbers that COCO's formats need."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any, Protocol

from cvserve.errors import InvalidInput

# The largest number that JSON and COCO's own tools hold without rounding.
_MOST_DIGITS = 15


class CocoNumbers(Protocol):
    """Gives images and classes their numbers. category_ids: the number of each class, in the order of the labels."""

    @property
    def category_ids(self) -> tuple[int, ...]:
        """The numbers of the classes."""

    def image_id(self, name: str) -> int:
        """Returns the number of the image. Called once for each image, in order."""


class OwnNumbers:
    """Numbers classes from 1 on. An image whose name is a number, such as 000000397133.jpg, gets that number; any
    other image, and one whose number is taken, gets the first free one from 1 on."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.category_ids = tuple(range(1, len(labels) + 1))
        self._taken: set[int] = set()
        self._next = 1

    def image_id(self, name: str) -> int:
        """Returns the number of the image."""
        stem = PurePath(name).stem
        number = int(stem) if stem.isascii() and stem.isdigit() and len(stem) <= _MOST_DIGITS else None
        if number is None or number in self._taken:
            while self._next in self._taken:
                self._next += 1
            number = self._next
        self._taken.add(number)
        return number


class GroundTruthNumbers:
    """Takes the numbers of a file in COCO's instances (or captions) format, so that results can be scored against it.

    An image is found by the name that it has in the file, or by its name without folders if no other image has that.
    Classes are found by name.

    Args:
        labels: the labels of the model; without labels the file needs no categories.

    Raises:
        InvalidInput: the file cannot be read, is not of this format, or lacks a label.
    """

    def __init__(self, path: str | Path, labels: Sequence[str]) -> None:
        self._path = path
        images, categories = _read(path, bool(labels))
        numbers: dict[str, int] = {}
        for name, number in categories:
            if name in numbers:
                raise InvalidInput(f"{path} has two categories {name!r}, which cannot be told apart")
            numbers[name] = number
        if missing := [label for label in labels if label not in numbers]:
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            raise InvalidInput(f"{path} has no category {', '.join(missing[:5])}{more}, which the model can answer")
        self.category_ids = tuple(numbers[label] for label in labels)
        self._whole = dict(images)
        self._last: dict[str, int | None] = {}
        for name, number in images:
            last = PurePath(name).name
            self._last[last] = None if last in self._last else number

    def image_id(self, name: str) -> int:
        """Returns the number of the image.

        Raises:
            InvalidInput: the file does not have the image, or has several of that name.
        """
        number = self._whole.get(PurePath(name).as_posix())
        if number is None:
            last = PurePath(name).name
            number = self._last.get(last)
            if number is None:
                why = "has several images of that name" if last in self._last else "has no such image"
                raise InvalidInput(f"{name}: {self._path} {why}, so that its results could not be scored")
        return number


def _read(path: str | Path, with_categories: bool) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Returns (file name, number) of the images and (name, number) of the categories."""
    try:
        content: Any = json.loads(Path(path).read_bytes())
        images = [(str(item["file_name"]), int(item["id"])) for item in content["images"]]
        entries = content["categories"] if with_categories else []
        categories = [(str(item["name"]), int(item["id"])) for item in entries]
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{path} is not a ground truth of COCO: it needs images and categories") from error
    return images, categories
