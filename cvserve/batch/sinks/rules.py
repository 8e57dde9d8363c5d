"""Describes how the results of each task are written, in one table of the tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvserve.artifact import Manifest
from cvserve.batch.coco_numbers import CocoNumbers
from cvserve.batch.sinks.base import Row
from cvserve.batch.sinks.coco import CocoSink
from cvserve.batch.sinks.tables import Table
from cvserve.batch.sinks.target import Target
from cvserve.batch.sources import Source
from cvserve.tasks import TaskTable


@dataclass(frozen=True)
class RowOptions:
    """Holds the options of rows.

    mask_format: one of `cvserve.postproc.MASK_FORMATS`; None for the task's default. masks: a folder for mask files.
    """

    mask_format: str | None = None
    masks: Path | None = None


def plain_row(source: Source, result: Any, options: RowOptions) -> Row:
    """Returns the result as a dict."""
    row: Row = result.to_dict()
    return row


@dataclass(frozen=True)
class SinkRules:
    """Describes how the results of one task are written. With the defaults only JSON lines are possible.

    row: makes the task's part of a row; called on the threads that run the graphs. table: makes the CSV table for a
    top_k; None: no CSV. coco: makes the sink of COCO's results; None: no such results. top_k: returns the number of
    classes for each image from the manifest; None: the task's rows have no such number. mask_options: returns which of
    the options mask_format and masks a model of the task has.
    """

    row: Callable[[Source, Any, RowOptions], Row] = plain_row
    table: Callable[[int], Table] | None = None
    coco: Callable[[Target, CocoNumbers], CocoSink] | None = None
    top_k: Callable[[Manifest], int] | None = None
    mask_options: Callable[[Manifest], tuple[str, ...]] = lambda _: ()


SINK_RULES: TaskTable[SinkRules] = TaskTable("cvserve.batch.sinks.tasks", "RULES", what="format of results")
