"""The columns of CSV, for each task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cvserve.batch.sinks.base import Row
from cvserve.errors import InvalidInput

COMMON = ("image", "task", "model", "version", "error")


class Table(Protocol):
    """How one image's row of `cvserve predict` becomes lines of CSV."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The header, which begins with `COMMON`."""

    def lines(self, row: Row) -> list[list[Any]]:
        """At least one line, each as long as the header.

        Raises:
            InvalidInput: the row has something that there is no column for.
        """

    def count(self, cells: Sequence[str]) -> int:
        """How many lines the image of this line has.

        Raises:
            ValueError: the line is not of this table.
        """


@dataclass(frozen=True)
class ClassTable:
    """Classification: a line an image, with label, index and score of each of its best classes, best first."""

    top_k: int

    @property
    def columns(self) -> tuple[str, ...]:
        ranks = range(1, self.top_k + 1)
        return COMMON + tuple(f"{name}_{rank}" for rank in ranks for name in ("label", "index", "score"))

    def lines(self, row: Row) -> list[list[Any]]:
        _only(row, "classes")
        cells = [row.get(name, "") for name in COMMON]
        for item in row.get("classes", [])[: self.top_k]:
            cells += [item["label"], item["index"], item["score"]]
        return [cells + [""] * (len(self.columns) - len(cells))]

    def count(self, cells: Sequence[str]) -> int:
        return 1


def top_k_of(header: Sequence[str]) -> int | None:
    """For how many classes an image the header is, None if it is not of classification."""
    top_k = (len(header) - len(COMMON)) // 3
    return top_k if top_k > 0 and tuple(header) == ClassTable(top_k).columns else None


@dataclass(frozen=True)
class ObjectTable:
    """Detection: a line an object, best first; an image without objects, or with an error, has one without an object.

    width, height: of the image, pixels. objects: how many it has, which is how many lines.
    """

    columns: tuple[str, ...] = (
        *COMMON,
        *("width", "height", "objects"),
        *("label", "index", "score", "x1", "y1", "x2", "y2"),
    )

    def lines(self, row: Row) -> list[list[Any]]:
        _only(row, "width", "height", "detections")
        objects = row.get("detections", [])
        known = [row.get(name, "") for name in (*COMMON, "width", "height")]
        known.append("" if "error" in row else len(objects))
        found = [[*known, item["label"], item["index"], item["score"], *item["box"]] for item in objects]
        return found or [known + [""] * (len(self.columns) - len(known))]

    def count(self, cells: Sequence[str]) -> int:
        return max(int(cells[self.columns.index("objects")] or 0), 1)


@dataclass(frozen=True)
class RegionTable:
    """Segmentation: a line for each class that there is, the largest first; an image with an error has one without.

    width, height: of the image, pixels. classes: how many there are, which is how many lines. CSV has no masks.
    """

    columns: tuple[str, ...] = (
        *COMMON,
        *("width", "height", "classes"),
        *("label", "index", "coverage", "confidence"),
    )

    def lines(self, row: Row) -> list[list[Any]]:
        _only(row, "width", "height", "segmentation")
        classes = row.get("segmentation", {}).get("classes", [])
        known = [row.get(name, "") for name in (*COMMON, "width", "height")]
        known.append("" if "error" in row else len(classes))
        found = [[*known, item["label"], item["index"], item["coverage"], item["confidence"]] for item in classes]
        return found or [known + [""] * (len(self.columns) - len(known))]

    def count(self, cells: Sequence[str]) -> int:
        return max(int(cells[self.columns.index("classes")] or 0), 1)


def _only(row: Row, *names: str) -> None:
    if unknown := set(row) - {*COMMON, *names}:
        raise InvalidInput(f"CSV has no column for {', '.join(sorted(unknown))}; write JSON lines instead")
