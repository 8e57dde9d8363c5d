"""Writes rows as CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any, BinaryIO

from cvserve.batch.sinks.base import FileSink, Known, Row
from cvserve.batch.sinks.tables import Table
from cvserve.batch.sinks.target import Target
from cvserve.errors import InvalidInput


class CsvSink(FileSink):
    """Writes a header, and for each image the lines that the table of the task makes from its row."""

    _errors = "surrogateescape"
    _newline = ""

    def __init__(self, target: Target, table: Table, made_by: tuple[str, int] | None = None) -> None:
        super().__init__(target, made_by, top_k=table.top_k)
        self._table = table
        self._header = list(table.columns)

    def __enter__(self) -> Any:
        super().__enter__()
        self._writer = csv.writer(self._open, lineterminator="\n")
        if self._target.direct or self._target.part.stat().st_size == 0:
            self._writer.writerow(self._header)
        return self

    def write(self, row: Row) -> None:
        """Writes the lines of a row."""
        self._writer.writerows(self._table.lines(row))

    def _rows(self, file: BinaryIO) -> Iterator[Known]:
        """Yields the images of the file. An image counts when its last line is complete."""
        offset, complete = 0, True

        def lines() -> Iterator[str]:
            nonlocal offset, complete
            for line in file:
                offset += len(line)
                complete = line.endswith(b"\n")
                yield line.decode("utf-8", "surrogateescape")

        image, remaining = "", 0
        try:
            for number, cells in enumerate(csv.reader(lines()), 1):
                if number == 1 and complete and cells != self._header:
                    top_k = self._table.top_k_of(cells)
                    if top_k is not None:
                        raise self._other_top_k(top_k)
                    raise InvalidInput(f"{self._target.final} has other columns than {','.join(self._header)}")
                if not complete or len(cells) != len(self._header):
                    continue
                if number == 1:
                    yield Known(offset, None, False, None)
                    continue
                if remaining and cells[0] != image:
                    raise ValueError(f"line {number} begins another image too early")
                image, remaining = cells[0], (remaining or self._table.count(cells)) - 1
                if not remaining:
                    made_by = (cells[2], cells[3]) if cells[2] else None  # an error has none
                    yield Known(offset, image, bool(cells[4]), made_by)
        except InvalidInput:  # a ValueError too, but with a message for the user
            raise
        except (csv.Error, ValueError) as error:
            raise InvalidInput(f"{self._target.final} is not a CSV file of cvserve predict: {error}") from error
