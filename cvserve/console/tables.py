"""Prints tables: with lines on a terminal, as aligned text anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from cvserve.console.lines import is_terminal, say


def table(rows: Iterable[Sequence[Any]], columns: Sequence[str], *, title: str | None = None) -> None:
    """Prints a table to stdout: with lines on a terminal, as plain aligned text elsewhere.

    Numbers are aligned to the right; None is shown as "-".
    """
    if not is_terminal(sys.stdout):
        say(format_table(rows, columns, title=title))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    texts, numeric = _cells(rows, columns)
    ruled = Table(title=title and Text(title), box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for name, right in zip(columns, numeric, strict=True):
        ruled.add_column(Text(name), justify="right" if right else "left", overflow="fold")
    for row in texts:
        ruled.add_row(*map(Text, row))  # Text, since a label may hold what rich takes for markup
    Console(highlight=False).print(ruled)


def format_table(rows: Iterable[Sequence[Any]], columns: Sequence[str], *, title: str | None = None) -> str:
    """Returns the table as plain aligned text, without a final newline."""
    texts, numeric = _cells(rows, columns)
    lines = [list(columns), *texts]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    lines.insert(1, ["-" * width for width in widths])
    out = [] if title is None else [title]
    for line in lines:
        padded = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        )
        out.append("  ".join(padded).rstrip())
    return "\n".join(out)


def _cells(rows: Iterable[Sequence[Any]], columns: Sequence[str]) -> tuple[list[list[str]], list[bool]]:
    values = [list(row) for row in rows]
    for row in values:
        if len(row) != len(columns):
            raise ValueError(f"a row of {len(row)} cells in a table of {len(columns)} columns: {row}")
    numeric = [
        any(value is not None for value in column)
        and all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in column)
        for column in (zip(*values, strict=True) if values else [()] * len(columns))
    ]
    return [[cell_text(value) for value in row] for row in values], numeric


def cell_text(value: Any) -> str:
    """Formats a value: four digits of a float, yes and no for bool, "-" for None."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
