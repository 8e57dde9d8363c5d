"""Writes rows as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import BinaryIO

from cvserve.batch.sinks.base import FileSink, Known, Row
from cvserve.errors import InvalidInput


class JsonLinesSink(FileSink):
    """Writes one JSON object on each line, in UTF-8."""

    # JSON escapes a lone surrogate as backslashreplace does, so any file name is read back as it was.
    _errors = "backslashreplace"

    def write(self, row: Row) -> None:
        """Writes a row as one line."""
        self._open.write(json.dumps(row, ensure_ascii=False) + "\n")

    def _rows(self, file: BinaryIO) -> Iterator[Known]:
        offset = 0
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return  # an incomplete line, which can only be the last
            offset += len(line)
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict) or not isinstance(row.get("image"), str):
                raise InvalidInput(f"{self._target.final}: line {number} is not a row of cvserve predict")
            made_by = (str(row["model"]), str(row.get("version"))) if "model" in row else None
            classes = row.get("classes")
            top_k = len(classes) if isinstance(classes, list) else None
            yield Known(offset, row["image"], "error" in row, made_by, top_k)
