"""Writes classes: JSON lines, and CSV with one line for each image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cvserve.artifact import ClassificationPostproc
from cvserve.batch.sinks.base import Row
from cvserve.batch.sinks.rules import SinkRules
from cvserve.batch.sinks.tables import COMMON, Table, check_columns


class ClassTable(Table):
    """Writes one line for each image, with label, index and score of each of its best classes, best first."""

    def __init__(self, top_k: int) -> None:
        self.top_k = top_k
        ranks = range(1, top_k + 1)
        self.columns = COMMON + tuple(f"{name}_{rank}" for rank in ranks for name in ("label", "index", "score"))

    def lines(self, row: Row) -> list[list[Any]]:
        """Returns the lines of an image."""
        check_columns(row, "classes")
        cells = [row.get(name, "") for name in COMMON]
        for item in row.get("classes", [])[: self.top_k]:
            cells += [item["label"], item["index"], item["score"]]
        return [cells + [""] * (len(self.columns) - len(cells))]

    def top_k_of(self, header: Sequence[str]) -> int | None:
        """Returns the number of classes that the header has room for, or None if it is the header of another table."""
        top_k = (len(header) - len(COMMON)) // 3
        return top_k if top_k > 0 and tuple(header) == ClassTable(top_k).columns else None


RULES = SinkRules(table=ClassTable, top_k=lambda manifest: ClassificationPostproc.of(manifest).top_k)
