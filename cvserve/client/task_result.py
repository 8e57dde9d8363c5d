"""Describes how the client reads the answers of each task, in one table of the tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cvserve.postproc.results import Result
from cvserve.tasks import TaskTable


@dataclass(frozen=True)
class TaskResult:
    """Describes how the client reads the answers of one task.

    stream_field: its field of a cvserve.v1.StreamResponse. read: converts the message of that field to the typed
    result. slow: whether reading takes so long that the asynchronous client does it in a thread.
    """

    stream_field: str
    read: Callable[[Any], Result]
    slow: bool = False


TASK_RESULTS: TaskTable[TaskResult] = TaskTable("cvserve.client.tasks", "RESULT", what="message")


def reader_of(stream_field: str | None) -> TaskResult | None:
    """Returns the entry of the task that has this field of a StreamResponse, or None."""
    entries = (TASK_RESULTS[task] for task in TASK_RESULTS.names())
    return next((entry for entry in entries if entry.stream_field == stream_field), None)
