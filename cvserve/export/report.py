"""What an export or an import made, as a table."""

from __future__ import annotations

from typing import Any

from cvserve.artifact import Manifest
from cvserve.console import format_table

COLUMNS = ("graph", "precision", "MB", "pictures", "max difference", "agreement", "ms x1", "ms x8")


def report_rows(manifest: Manifest) -> list[list[Any]]:
    """A row a graph (and one for a SavedModel's signature of encoded pictures), by COLUMNS; None where unknown."""
    rows: list[list[Any]] = []
    for graph in manifest.graphs:
        row: list[Any] = [graph.format, graph.precision, round(graph.bytes / 1e6, 2), None, None, None]
        if graph.parity is not None:
            row[3:] = _figures(graph.parity.images, graph.parity.max_abs_difference, graph.parity.agreement)
        rows.append([*row, graph.latency_ms.get("1"), graph.latency_ms.get("8")])
        if graph.encoded is not None:
            parity = graph.encoded.parity
            name = f"{graph.format} ({graph.encoded.signature})"
            figures = _figures(parity.images, parity.max_abs_difference, parity.agreement)
            rows.append([name, graph.precision, None, *figures, None, None])
    return rows


def report_table(manifest: Manifest) -> str:
    """The rows as text."""
    return format_table(report_rows(manifest), COLUMNS, title=f"{manifest.name} version {manifest.version}")


def _figures(images: int, difference: float, agreement: float) -> list[Any]:
    return [images, f"{difference:.1e}", agreement]
