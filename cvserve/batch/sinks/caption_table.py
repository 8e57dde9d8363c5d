"""The columns of CSV for captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cvserve.batch.sinks.base import Row
from cvserve.batch.sinks.tables import COMMON
from cvserve.errors import InvalidInput


@dataclass(frozen=True)
class CaptionTable:
    """Captioning: a line a caption, best first; an image with an error has one without a caption.

    captions: how many the image has, which is how many lines.
    """

    columns: tuple[str, ...] = (*COMMON, "captions", "caption", "log_probability")

    def lines(self, row: Row) -> list[list[Any]]:
        if unknown := set(row) - {*COMMON, "captions"}:
            raise InvalidInput(f"CSV has no column for {', '.join(sorted(unknown))}; write JSON lines instead")
        captions = row.get("captions", [])
        known = [row.get(name, "") for name in COMMON]
        if not captions:
            return [[*known, "" if "error" in row else 0, "", ""]]
        return [[*known, len(captions), item["text"], item["log_probability"]] for item in captions]

    def count(self, cells: Sequence[str]) -> int:
        return max(int(cells[self.columns.index("captions")] or 0), 1)
