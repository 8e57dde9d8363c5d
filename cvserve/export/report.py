"""What an export or an import made, as a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cvserve.artifact import DetectionParity, FileEntry, Graph, Manifest, Parity, SegmentationParity, Task
from cvserve.console import format_table

COLUMNS = ("graph", "precision", "MB", "images", "max difference", "agreement", "ms x1", "ms x8")
BOX_COLUMNS = ("box IoU", "least", "score", "unmatched", "mAP")
"""Of detection: mean and least IoU of matched boxes, largest difference of their scores, share of objects without a
partner, difference in mAP."""


PIXEL_COLUMNS = ("pixels", "mIoU", "mIoU differs")
"""Of segmentation: share of pixels of the same class, mIoU of the two sides, how their mIoU with the truth differs."""

MASK_COLUMNS = ("mask IoU", "least mask")
"""Of detection with masks: mean and least IoU of matched objects' masks."""

_COLUMNS: dict[Task, tuple[str, ...]] = {"detection": BOX_COLUMNS, "segmentation": PIXEL_COLUMNS}


def columns(manifest: Manifest) -> tuple[str, ...]:
    """What stands in `report_rows`."""
    return (*COLUMNS[:6], *_more_columns(manifest), *COLUMNS[6:])


def report_rows(manifest: Manifest) -> list[list[Any]]:
    """A row a graph, and one for each further signature, by `columns`; None where unknown."""
    rows: list[list[Any]] = []
    for graph in manifest.graphs:
        latency = [graph.latency_ms.get("1"), graph.latency_ms.get("8")]
        megabytes = round(graph.bytes / 1e6, 2)
        rows.append([graph.format, graph.precision, megabytes, *_figures(graph.parity, manifest), *latency])
        for name, files, parity in _further(graph):
            size = round(sum(file.bytes for file in files) / 1e6, 2) if files else None
            figures = _figures(parity, manifest)
            rows.append([f"{graph.format} ({name})", graph.precision, size, *figures, None, None])
    return rows


def _further(graph: Graph) -> Iterator[tuple[str, tuple[FileEntry, ...], Parity]]:
    """Name, own files and parity of each further signature."""
    if graph.encoded is not None:
        yield graph.encoded.signature, (), graph.encoded.parity
    if graph.detect is not None:
        yield graph.detect.signature, (graph.detect.file,) if graph.detect.file else (), graph.detect.parity
    if graph.steps is not None:
        yield f"{graph.steps.encode}, {graph.steps.step}", graph.steps.files, graph.steps.parity


def _more_columns(manifest: Manifest) -> tuple[str, ...]:
    return (*_COLUMNS.get(manifest.task, ()), *(MASK_COLUMNS if manifest.has_masks else ()))


def report_table(manifest: Manifest) -> str:
    """The rows as text."""
    return format_table(report_rows(manifest), columns(manifest), title=f"{manifest.name} version {manifest.version}")


def _figures(parity: Parity | None, manifest: Manifest) -> list[Any]:
    if parity is None:
        return [None] * (3 + len(_more_columns(manifest)))
    figures = [parity.images, f"{parity.max_abs_difference:.1e}", parity.agreement]
    if isinstance(parity, SegmentationParity):
        return [*figures, *_shares(parity.pixel_agreement, parity.miou), _small(parity.miou_difference)]
    if isinstance(parity, DetectionParity):
        ious = _shares(parity.box_iou, parity.box_iou_min)
        unmatched = None if parity.unmatched is None else f"{parity.unmatched:.2%}"
        masks = _shares(parity.mask_iou, parity.mask_iou_min) if manifest.has_masks else []
        return [*figures, *ious, _small(parity.score_difference), unmatched, _small(parity.map_difference), *masks]
    return figures


def _shares(*values: float | None) -> list[str | None]:
    return [None if value is None else f"{value:.5f}" for value in values]


def _small(value: float | None) -> str | None:
    return None if value is None else f"{value:.1e}"
