"""Converts the rows of one task to lines of CSV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cvserve.batch.sinks.base import Row
from cvserve.errors import InvalidInput

COMMON = ("image", "task", "model", "version", "error")
"""The first columns of every table."""


class Table:
    """Converts the row of one image to lines of CSV. Each task with a table has a subclass.

    columns: the header, which begins with `COMMON`. top_k: the number of classes that a line has room for; None for
    tables without such columns.
    """

    columns: tuple[str, ...]
    top_k: int | None = None

    def lines(self, row: Row) -> list[list[Any]]:
        """Returns at least one line, each as long as the header.

        Raises:
            InvalidInput: the row has something that there is no column for.
        """
        raise NotImplementedError

    def count(self, cells: Sequence[str]) -> int:
        """Returns the number of lines of the image to which this line belongs.

        Raises:
            ValueError: the line does not belong to this table.
        """
        return 1

    def top_k_of(self, header: Sequence[str]) -> int | None:
        """Returns the top_k of a table of this kind that has the header, or None if it belongs to none."""
        return None


def check_columns(row: Row, *names: str) -> None:
    """Checks that the table has a column for each key of a row.

    Raises:
        InvalidInput: the row has other keys than `COMMON` and these.
    """
    if unknown := set(row) - {*COMMON, *names}:
        raise InvalidInput(f"CSV has no column for {', '.join(sorted(unknown))}; write JSON lines instead")
