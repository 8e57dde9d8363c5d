"""How `cvserve infer` asks for and prints the results of each task, and the table of the tasks."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cvserve.tasks import TaskTable

if TYPE_CHECKING:
    from cvserve.client import Client, ModelInfo


def plain_row(result: Any, arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the result as it is."""
    row: dict[str, Any] = result.to_dict()
    return row


@dataclass(frozen=True)
class InferTask:
    """What `cvserve infer` does for one task.

    ask: sends an encoded image to a version of the model and returns the result. print_row: prints a row of
    `cvserve predict` for people. row: makes the task's part of the row. drawable: makes what can be drawn of a result.
    takes_masks: whether a model of the task has --mask-format.
    """

    ask: Callable[[Client, argparse.Namespace, bytes, int], Any]
    print_row: Callable[[dict[str, Any]], None]
    row: Callable[[Any, argparse.Namespace], dict[str, Any]] = plain_row
    drawable: Callable[[Any, ModelInfo], Any] = lambda result, _: result
    takes_masks: Callable[[ModelInfo], bool] = lambda _: False


INFER_TASKS: TaskTable[InferTask] = TaskTable("cvserve.cli.tasks", "INFER", what="output of infer")
