"""Formats the figures of an export or an import as a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cvserve.artifact import FileEntry, Graph, Manifest, Parity
from cvserve.console import format_table
from cvserve.export.task_export import TASK_EXPORTS

_GRAPH_COLUMNS = ("graph", "precision", "MB")
_PARITY_COLUMNS = ("images", "max difference", "agreement")
_LATENCY_COLUMNS = ("ms x1", "ms x8")


def columns(manifest: Manifest) -> tuple[str, ...]:
    """Returns the titles of the columns of `report_rows`."""
    own = TASK_EXPORTS[manifest.task].report_columns(manifest)
    return (*_GRAPH_COLUMNS, *_PARITY_COLUMNS, *own, *_LATENCY_COLUMNS)


def report_rows(manifest: Manifest) -> list[list[Any]]:
    """Returns a row for each graph and each extra signature, in the order of `columns`; None where unknown."""
    rows: list[list[Any]] = []
    for graph in manifest.graphs:
        latency = [graph.latency_ms.get("1"), graph.latency_ms.get("8")]
        megabytes = round(graph.bytes / 1e6, 2)
        rows.append([graph.format, graph.precision, megabytes, *_figures(graph.parity, manifest), *latency])
        for name, files, parity in _extra_signatures(graph):
            size = round(sum(file.bytes for file in files) / 1e6, 2) if files else None
            figures = _figures(parity, manifest)
            rows.append([f"{graph.format} ({name})", graph.precision, size, *figures, None, None])
    return rows


def report_table(manifest: Manifest) -> str:
    """Returns the rows as text."""
    return format_table(report_rows(manifest), columns(manifest), title=f"{manifest.name} version {manifest.version}")


def _extra_signatures(graph: Graph) -> Iterator[tuple[str, tuple[FileEntry, ...], Parity]]:
    """Yields the name, the files and the parity of each extra signature; no files where it is in the graph's own."""
    if graph.encoded is not None:
        yield graph.encoded.signature, (), graph.encoded.parity
    if graph.detect is not None:
        yield graph.detect.signature, (graph.detect.file,) if graph.detect.file else (), graph.detect.parity
    if graph.steps is not None:
        yield f"{graph.steps.encode}, {graph.steps.step}", graph.steps.files, graph.steps.parity


def _figures(parity: Parity | None, manifest: Manifest) -> list[Any]:
    export = TASK_EXPORTS[manifest.task]
    if parity is None:
        return [None] * (len(_PARITY_COLUMNS) + len(export.report_columns(manifest)))
    figures = [parity.images, f"{parity.max_abs_difference:.1e}", parity.agreement]
    return [*figures, *export.report_figures(parity, manifest)]
