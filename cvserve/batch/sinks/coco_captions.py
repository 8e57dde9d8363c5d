"""Captions in COCO's results format."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import BinaryIO

from cvserve.batch.coco_numbers import CocoNumbers
from cvserve.batch.sinks.base import FileSink, Known, Row
from cvserve.batch.sinks.target import Target
from cvserve.errors import InvalidInput


class CocoCaptionsSink(FileSink):
    """One JSON array of {"image_id", "caption", "file_name"}, the best caption of each image.

    pycocotools and pycocoevalcap load it as it is, and have no use for "file_name". Images with errors are not in it:
    it cannot be continued.
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
        if "captions" not in row:
            raise InvalidInput(f"captions are of captioning models, not of {row.get('task')}; write JSON lines")
        number, name = self._numbers.image_id(row["image"]), row["image"]
        result = {"image_id": number, "caption": row["captions"][0]["text"], "file_name": name}
        self._open.write(self._separator + json.dumps(result))
        self._separator = ",\n"

    def _end(self) -> None:
        self._open.write("[]\n" if self._separator == "[\n" else "\n]\n")

    def _rows(self, file: BinaryIO) -> Iterator[Known]:
        raise InvalidInput(f"{self._target.final} cannot be continued")
