"""Objects in COCO's results format."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from cvserve.batch.coco_numbers import CocoNumbers
from cvserve.batch.sinks.base import FileSink, Known, Row
from cvserve.batch.sinks.target import Target
from cvserve.errors import InvalidInput


class CocoResultsSink(FileSink):
    """One JSON array of {"image_id", "category_id", "bbox": [x, y, width, height], "score", "file_name"}.

    Objects with masks have theirs as "segmentation", run lengths. pycocotools loads it as it is, for boxes and for
    masks (whose AP by size then goes by the boxes' areas), and has no use for "file_name". Images with errors are not
    in it, nor are those without objects: it cannot be continued.
    """

    resumable = False
    _errors = "backslashreplace"

    def __init__(self, target: Target, numbers: CocoNumbers) -> None:
        super().__init__(target)
        self._numbers = numbers
        self._separator = "[\n"

    def write(self, row: Row) -> None:
        if "error" in row:
            return
        if "detections" not in row:
            raise InvalidInput(f"COCO results are of detection models, not of {row.get('task')}; write JSON lines")
        image_id = self._numbers.image_id(row["image"])
        for item in row["detections"]:
            self._open.write(self._separator + json.dumps(self._result(image_id, row["image"], item)))
            self._separator = ",\n"

    def _result(self, image_id: int, name: str, item: dict[str, Any]) -> dict[str, Any]:
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

    def _end(self) -> None:
        self._open.write("[]\n" if self._separator == "[\n" else "\n]\n")

    def _rows(self, file: BinaryIO) -> Iterator[Known]:
        raise InvalidInput(f"{self._target.final} cannot be continued")
