"""Writes class maps: JSON lines, and CSV with one line for each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cvserve.batch.mask_files import write_mask
from cvserve.batch.sinks.base import Row
from cvserve.batch.sinks.rules import RowOptions, SinkRules
from cvserve.batch.sinks.tables import COMMON, Table, check_columns
from cvserve.batch.sources import Source
from cvserve.postproc import SegmentationResult


class RegionTable(Table):
    """Writes one line for each class in the image, the largest first; an image with an error has one line without one.

    width, height: the size of the image in pixels. classes: the number of classes in the image, which is its number of
    lines. CSV has no masks.
    """

    columns = (
        *COMMON,
        *("width", "height", "classes"),
        *("label", "index", "coverage", "confidence"),
    )

    def lines(self, row: Row) -> list[list[Any]]:
        """Returns the lines of an image."""
        check_columns(row, "width", "height", "segmentation")
        classes = row.get("segmentation", {}).get("classes", [])
        known = [row.get(name, "") for name in (*COMMON, "width", "height")]
        known.append("" if "error" in row else len(classes))
        lines = [[*known, item["label"], item["index"], item["coverage"], item["confidence"]] for item in classes]
        return lines or [known + [""] * (len(self.columns) - len(known))]

    def count(self, cells: Sequence[str]) -> int:
        """Returns the number of lines of the image to which this line belongs."""
        return max(int(cells[self.columns.index("classes")] or 0), 1)


def _row(source: Source, result: SegmentationResult, options: RowOptions) -> Row:
    row = result.to_dict(options.mask_format or ("png" if options.masks is None else "none"))
    if options.masks is not None:
        path = write_mask(source, result, options.masks)
        row["segmentation"]["file"] = path.relative_to(options.masks).as_posix()
    return row


RULES = SinkRules(row=_row, table=lambda _: RegionTable(), mask_options=lambda _: ("mask_format", "masks"))
