"""The base class of the sinks for COCO's results formats: one JSON array, which cannot be continued."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from cvserve.batch.coco_numbers import CocoNumbers
from cvserve.batch.sinks.base import FileSink, Known, Row
from cvserve.batch.sinks.target import Target
from cvserve.errors import InvalidInput


class CocoSink(FileSink):
    """Writes the entries of each image into one JSON array. Images with errors are not in it."""

    resumable = False
    _errors = "backslashreplace"

    def __init__(self, target: Target, numbers: CocoNumbers) -> None:
        super().__init__(target)
        self._numbers = numbers
        self._separator = "[\n"

    def entries(self, row: Row) -> list[dict[str, Any]]:
        """Returns the entries of a row that is not an error.

        Raises:
            InvalidInput: the row belongs to another task.
        """
        raise NotImplementedError

    def write(self, row: Row) -> None:
        """Writes the entries of a row; an error has none."""
        if "error" in row:
            return
        for entry in self.entries(row):
            self._open.write(self._separator + json.dumps(entry))
            self._separator = ",\n"

    def _end(self) -> None:
        self._open.write("[]\n" if self._separator == "[\n" else "\n]\n")

    def _rows(self, file: BinaryIO) -> Iterator[Known]:
        raise InvalidInput(f"{self._target.final} cannot be continued")
