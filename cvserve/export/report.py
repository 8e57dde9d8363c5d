"""What an export or an import made, as a table."""

from __future__ import annotations

from typing import Any

from cvserve.artifact import DetectSignature, Manifest, Parity
from cvserve.console import format_table

COLUMNS = ("graph", "precision", "MB", "pictures", "max difference", "agreement", "ms x1", "ms x8")
BOX_COLUMNS = ("box IoU", "least", "score", "unmatched", "mAP")
"""Of detection: mean and least IoU of matched boxes, largest difference of their scores, share of objects without a
partner, difference in mAP."""


def columns(manifest: Manifest) -> tuple[str, ...]:
    """What stands in `report_rows`."""
    return (*COLUMNS[:6], *BOX_COLUMNS, *COLUMNS[6:]) if manifest.task == "detection" else COLUMNS


def report_rows(manifest: Manifest) -> list[list[Any]]:
    """A row a graph, and one for each further signature, by `columns`; None where unknown."""
    is_detection = manifest.task == "detection"
    rows: list[list[Any]] = []
    for graph in manifest.graphs:
        latency = [graph.latency_ms.get("1"), graph.latency_ms.get("8")]
        megabytes = round(graph.bytes / 1e6, 2)
        rows.append([graph.format, graph.precision, megabytes, *_figures(graph.parity, is_detection), *latency])
        for second in (graph.encoded, graph.detect):
            if second is None:
                continue
            own = second.file if isinstance(second, DetectSignature) else None
            name = f"{graph.format} ({second.signature})"
            size = round(own.bytes / 1e6, 2) if own else None
            rows.append([name, graph.precision, size, *_figures(second.parity, is_detection), None, None])
    return rows


def report_table(manifest: Manifest) -> str:
    """The rows as text."""
    return format_table(report_rows(manifest), columns(manifest), title=f"{manifest.name} version {manifest.version}")


def _figures(parity: Parity | None, is_detection: bool) -> list[Any]:
    if parity is None:
        return [None] * (3 + len(BOX_COLUMNS) * is_detection)
    figures = [parity.images, f"{parity.max_abs_difference:.1e}", parity.agreement]
    if not is_detection:
        return figures
    ious = [None if value is None else f"{value:.5f}" for value in (parity.box_iou, parity.box_iou_min)]
    small = [None if value is None else f"{value:.1e}" for value in (parity.score_difference, parity.map_difference)]
    unmatched = None if parity.unmatched is None else f"{parity.unmatched:.2%}"
    return [*figures, *ious, small[0], unmatched, small[1]]
