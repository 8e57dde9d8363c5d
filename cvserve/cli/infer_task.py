"""Describes how `cvserve infer` requests and prints the results of each task, in one table of the tasks."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cvserve.tasks import TaskTable

if TYPE_CHECKING:
    from cvserve.client import Client, ModelInfo


def plain_row(result: Any, arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the result as a dict."""
    row: dict[str, Any] = result.to_dict()
    return row


@dataclass(frozen=True)
class InferTask:
    """Holds the functions of `cvserve infer` for one task.

    ask: sends an encoded image to a version of the model and returns the result. print_row: prints a row of
    `cvserve predict` as text. row: makes the task's part of the row. drawable: converts a result to one that can be
    drawn. takes_masks: returns whether a model of the task has --mask-format.
    """

    ask: Callable[[Client, argparse.Namespace, bytes, int], Any]
    print_row: Callable[[dict[str, Any]], None]
    row: Callable[[Any, argparse.Namespace], dict[str, Any]] = plain_row
    drawable: Callable[[Any, ModelInfo], Any] = lambda result, _: result
    takes_masks: Callable[[ModelInfo], bool] = lambda _: False


INFER_TASKS: TaskTable[InferTask] = TaskTable("cvserve.cli.tasks", "INFER", what="output of infer")
