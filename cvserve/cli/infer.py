"""Sends images to a server and prints the results: classes, objects with boxes x1 y1 x2 y2, the fraction of the image
that each class covers, or sentences with their probabilities, depending on the model.

Needs neither TensorFlow nor the model, only the light installation.

--health asks whether the server (or one model on it) is ready and sends no image: exit code 0 if it is, 2 if not.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cvserve import console
from cvserve.cli.arguments import MASK_FORMATS, example, positive
from cvserve.cli.connection import add_connection, connection
from cvserve.cli.failures import list_failures
from cvserve.cli.infer_task import INFER_TASKS, InferTask
from cvserve.errors import (
    CvserveError,
    DeadlineExceeded,
    ImageError,
    InvalidInput,
    OutOfMemory,
    Overloaded,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)

if TYPE_CHECKING:
    from cvserve.client import Client, ModelInfo

T = TypeVar("T")
_RETRY_SECONDS = 0.25


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("server", metavar="SERVER", help="host:port")
    parser.add_argument("model", metavar="MODEL", nargs="?", help="a model's name on the server")
    parser.add_argument("images", metavar="IMAGE", nargs="*", help="image files")
    parser.add_argument("--top-k", type=positive, metavar="K", help="classes per image; default: the model's")
    parser.add_argument("--version", type=positive, metavar="N", help="a version of the model; default: the newest")
    parser.add_argument("--label", metavar="LABEL", help="the label of a version, instead of its number")
    parser.add_argument(
        "--score-threshold",
        type=_fraction,
        metavar="X",
        help="only classes or objects with at least this score, 0 to 1; default of objects: the model's",
    )
    parser.add_argument(
        "--max-results", type=positive, metavar="N", help="largest number of objects (or classes) per image"
    )
    parser.add_argument("--annotate", metavar="DIR", help="write copies of the images with the result drawn on them")
    parser.add_argument(
        "--mask-format",
        choices=MASK_FORMATS,
        help="segmentation: the masks in the rows of --json (see cvserve predict); default: png, of objects rle",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per image, as cvserve predict writes it")
    parser.add_argument("--timeout", type=_seconds, default=30.0, metavar="X", help="seconds per image; default: 30")
    parser.add_argument("--concurrency", type=positive, default=8, metavar="N", help="requests at a time; default: 8")
    parser.add_argument(
        "--wait",
        type=_seconds,
        default=0.0,
        metavar="X",
        help="seconds to wait until the server or model is ready; default: 0",
    )
    parser.add_argument("--health", action="store_true", help="only ask whether the server is ready")
    add_connection(parser)
    example(
        parser,
        "cvserve infer localhost:8500 flowers photo.jpg",
        "cvserve infer localhost:8500 --health --wait 60",
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the command and returns its exit code."""
    if arguments.health:
        return _retry_until_ready(lambda: _health(arguments), arguments.wait)
    if not arguments.model or not arguments.images:
        missing = "an image" if arguments.model else "the model's name and an image"
        raise InvalidInput(f"give {missing} too: cvserve infer {arguments.server} flowers photo.jpg")
    from cvserve.client import Client
    from cvserve.parallel import ordered_map

    failed: list[tuple[str, str]] = []
    with Client(arguments.server, timeout=arguments.timeout, **connection(arguments)) as client:
        info = _retry_until_ready(
            lambda: client.model_info(arguments.model, arguments.version, label=arguments.label), arguments.wait
        )
        if info.task not in INFER_TASKS:
            raise InvalidInput(_not_shown(info))
        task = INFER_TASKS[info.task]
        if arguments.mask_format and not task.takes_masks(info):
            raise InvalidInput(f"--mask-format is for segmentation models; {info.name} does {info.task}")

        # All images go to the version that answered here, even if a newer one is loaded meanwhile.
        def ask(name: str) -> dict[str, Any]:
            return {"image": name, **_ask(task, client, arguments, name, info)}

        images = ordered_map(ask, arguments.images, workers=arguments.concurrency, ahead=2 * arguments.concurrency)
        for row in images:
            if "error" in row:
                failed.append((row["image"], row["error"]))
            else:
                name = {"image": row.pop("image"), "task": info.task, "model": info.name, "version": info.version}
                row = {**name, **row}
            if arguments.json:
                console.say(json.dumps(row, ensure_ascii=False))
            elif "error" not in row:
                task.print_row(row)
    return list_failures(failed, len(failed), done=len(arguments.images) - len(failed))


def _not_shown(info: ModelInfo) -> str:
    if info.task:
        return f"{info.name} is a model for {info.task}, which this command cannot show yet"
    return f"{info.name} takes tensors, not images; ask it with Predict or over REST, or pack it with cvserve import"


def _ask(task: InferTask, client: Client, arguments: argparse.Namespace, name: str, info: ModelInfo) -> dict[str, Any]:
    """Returns the result's part of a row, or {"error"} if only this image failed and the next may succeed."""
    from cvserve.preproc.source import read_file

    try:
        content = read_file(name, name)
    except ImageError as error:
        return {"error": error.reason}
    try:
        result = task.ask(client, arguments, content, info.version)
        row = task.row(result, arguments)
        if arguments.annotate:
            from cvserve.batch.annotate import write_annotated
            from cvserve.batch.sources import Source

            write_annotated(Source(name, Path(name)), task.drawable(result, info), Path(arguments.annotate))
    except (InvalidInput, Overloaded, OutOfMemory, DeadlineExceeded) as error:
        return {"error": str(error)}
    return row


def _health(arguments: argparse.Namespace) -> int:
    from cvserve.client import Client, Health

    server, model = arguments.server, arguments.model or ""
    service = model if arguments.version is None else f"{model}/{arguments.version}"
    what = f"{service} on {server}" if service else server
    # A probe does not wait for a server that does not run.
    with Client(server, timeout=arguments.timeout, connect_timeout=1.0, **connection(arguments)) as client:
        try:
            health = client.health(service)
        except (Unauthenticated, PermissionDenied):
            raise  # waiting would not help
        except CvserveError as error:
            raise Unavailable(f"{what} is not ready: {error}") from error
    if health is not Health.SERVING:
        raise Unavailable(f"{what} is not ready: its health is {health.name}")
    console.say("ready")
    return 0


def _retry_until_ready(ask: Callable[[], T], seconds: float) -> T:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except Unavailable:
            if (remaining := deadline - time.monotonic()) <= 0:
                raise
            time.sleep(min(_RETRY_SECONDS, remaining))


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value
