"""Lists the networks that can be trained: task, parameters, default image size, and the paper of each.

PATTERN is a wildcard, such as "resnet*". Parameters are those of the network with its default options, for 1000 classes
(classification), 80 (detection), 21 (segmentation) or a vocabulary of 10000 words (captioning).
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cvserve import console
from cvserve.cli.arguments import example
from cvserve.cli.libraries import load_tensorflow
from cvserve.errors import InvalidInput
from cvserve.models.tasks import MODEL_TASKS

if TYPE_CHECKING:
    from cvserve.models import ModelEntry

_COLUMNS = ("name", "task", "parameters", "image size", "source", "summary")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.add_argument("pattern", nargs="?", default="*", metavar="PATTERN", help="names to list; default: all")
    parser.add_argument("--task", metavar="TASK", help=", ".join(MODEL_TASKS.names()))
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    example(parser, "cvserve models --task detection", "cvserve models 'resnet*'")


def run(arguments: argparse.Namespace) -> int:
    """Prints the networks that match.

    Raises:
        InvalidInput: an unknown task, or a pattern that no network matches.
    """
    from cvserve.models import list_entries
    from cvserve.models.catalogue import check_task

    if arguments.task is not None:
        check_task(arguments.task)
    load_tensorflow()  # networks register themselves when their modules are imported, which need it
    entries = list_entries(arguments.task, arguments.pattern)
    if not entries:
        task = f" for the task {arguments.task}" if arguments.task else ""
        raise InvalidInput(f"no network{task} has a name like {arguments.pattern!r}; cvserve models lists all")
    if arguments.json:
        console.say(json.dumps([_as_dict(entry) for entry in entries], ensure_ascii=False, indent=2))
    else:
        console.table([_row(entry) for entry in entries], _COLUMNS)
    return 0


def _row(entry: ModelEntry) -> tuple[Any, ...]:
    millions = None if entry.parameters is None else f"{entry.parameters / 1e6:.2f} M"
    paper = None if entry.paper is None else f"{entry.paper.authors}, {entry.paper.year}"
    return entry.name, entry.task, millions, entry.image_size, paper, entry.summary


def _as_dict(entry: ModelEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "task": entry.task,
        "parameters": entry.parameters,
        "image_size": entry.image_size,
        "summary": entry.summary,
        "masks": entry.masks,
        "paper": None if entry.paper is None else asdict(entry.paper),
    }
