"""Writes objects: JSON lines, CSV with one line for each object, and COCO's results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cvserve.batch.sinks.base import Row
from cvserve.batch.sinks.coco import CocoSink
from cvserve.batch.sinks.rules import RowOptions, SinkRules
from cvserve.batch.sinks.tables import COMMON, Table, check_columns
from cvserve.batch.sources import Source
from cvserve.errors import InvalidInput
from cvserve.postproc import DetectionResult
from cvserve.postproc.encoded_masks import DEFAULT_FORMAT


class ObjectTable(Table):
    """Writes one line for each object, best first. An image without objects, or with an error, has one line without
    one.

    width, height: the size of the image in pixels. objects: the number of its objects, which is its number of lines.
    """

    columns = (
        *COMMON,
        *("width", "height", "objects"),
        *("label", "index", "score", "x1", "y1", "x2", "y2"),
    )

    def lines(self, row: Row) -> list[list[Any]]:
        """Returns the lines of an image."""
        check_columns(row, "width", "height", "detections")
        objects = row.get("detections", [])
        known = [row.get(name, "") for name in (*COMMON, "width", "height")]
        known.append("" if "error" in row else len(objects))
        lines = [[*known, item["label"], item["index"], item["score"], *item["box"]] for item in objects]
        return lines or [known + [""] * (len(self.columns) - len(known))]

    def count(self, cells: Sequence[str]) -> int:
        """Returns the number of lines of the image to which this line belongs."""
        return max(int(cells[self.columns.index("objects")] or 0), 1)


class CocoResultsSink(CocoSink):
    """Writes {"image_id", "category_id", "bbox": [x, y, width, height], "score", "file_name"} for each object.

    Masks of objects are written as "segmentation", in run lengths. pycocotools loads the file as it is, for boxes and
    for masks (whose AP by size then uses the areas of the boxes), and ignores "file_name".
    """

    def entries(self, row: Row) -> list[dict[str, Any]]:
        """Returns the entries of an image."""
        if "detections" not in row:
            raise InvalidInput(f"COCO results are of detection models, not of {row.get('task')}; write JSON lines")
        image_id = self._numbers.image_id(row["image"])
        return [self._entry(image_id, row["image"], item) for item in row["detections"]]

    def _entry(self, image_id: int, name: str, item: dict[str, Any]) -> dict[str, Any]:
        x1, y1, x2, y2 = item["box"]
        mask = {"segmentation": item["mask"]} if "mask" in item else {}
        return {
            "image_id": image_id,
            "category_id": self._numbers.category_ids[item["index"]],
            "bbox": [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)],
            "score": item["score"],
            **mask,
            "file_name": name,
        }


def _row(source: Source, result: DetectionResult, options: RowOptions) -> Row:
    return result.to_dict(options.mask_format or DEFAULT_FORMAT)


RULES = SinkRules(
    row=_row,
    table=lambda _: ObjectTable(),
    coco=CocoResultsSink,
    mask_options=lambda manifest: ("mask_format",) if manifest.has_masks else (),
)
