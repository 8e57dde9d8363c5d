"""Measures a model on this machine: in process, and served to clients on the same cores.

The in-process baseline is the pipeline, called from the best number of threads that is found. The server then answers
more and more clients, gets three times as many requests as it can answer, and is left idle. Everything is measured in
turns, in several rounds, and the medians count. The table goes to stdout, progress to stderr.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from cvserve import console
from cvserve.cli.arguments import add_runtime, example, file_and_set, positive
from cvserve.errors import InvalidInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command."""
    parser.add_argument("model", metavar="MODEL", help="a model's directory (its newest version) or a version's")
    parser.add_argument("--version", type=positive, metavar="N", help="a version of the model; default: the newest")
    group = parser.add_argument_group("the server")
    group.add_argument("--config", metavar="FILE.yaml", help="settings, as cvserve serve takes them")
    group.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting; may be repeated")
    group.add_argument(
        "--compare",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="measure a second server that has this setting; may be repeated",
    )
    add_runtime(parser, default=None)
    group = parser.add_argument_group("what is measured")
    group.add_argument("--images", metavar="DIR", help="images to send; default: generated JPEGs of 500 x 375")
    group.add_argument("--concurrency", type=_counts, metavar="N,N", help="numbers of clients; default: 1,2,4,...,64")
    group.add_argument("--rounds", type=positive, default=3, metavar="N", help="default: 3")
    group.add_argument("--seconds", type=_seconds, default=3.0, metavar="X", help="of each measurement; default: 3")
    group.add_argument("--overload-seconds", type=_seconds, default=10.0, metavar="X", help="default: 10; 0: none")
    group.add_argument("--idle-seconds", type=_seconds, default=5.0, metavar="X", help="default: 5; 0: none")
    group.add_argument(
        "--client",
        choices=("light", "grpc"),
        default="grpc",
        help="grpc, the clients of grpcio; light is the same, for command lines of earlier versions",
    )
    group = parser.add_argument_group("what is written")
    group.add_argument("--out", metavar="FILE.json", help="write all figures as JSON")
    group.add_argument("--chart", metavar="FILE.png", help="draw them (.png, .svg, .pdf)")
    example(
        parser,
        "cvserve bench models/flowers --out bench.json --chart bench.png",
        "cvserve bench models/flowers --runtime onnx --concurrency 1,8,64 --compare batching=false",
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from cvserve.bench import BenchPlan, bench, draw_result, format_result
    from cvserve.bench.chart import check_chart_path
    from cvserve.bench.results import CONCURRENCY
    from cvserve.serving import load_settings
    from cvserve.settings import with_overrides

    if arguments.seconds == 0:
        raise InvalidInput("--seconds must be more than 0")
    if arguments.chart:
        check_chart_path(arguments.chart)
    for path in filter(None, (arguments.out, arguments.chart)):
        if not Path(path).resolve().parent.is_dir():
            raise InvalidInput(f"{path} cannot be written: there is no folder {Path(path).resolve().parent}")
        if Path(path).is_dir():
            raise InvalidInput(f"{path} cannot be written: it is a folder")
    settings = server_settings(arguments)
    compared = with_overrides({}, arguments.compare)
    load_settings(settings | compared)  # rather than when the second server starts
    result = bench(
        arguments.model,
        BenchPlan(
            concurrency=arguments.concurrency or CONCURRENCY,
            rounds=arguments.rounds,
            seconds=arguments.seconds,
            overload_seconds=arguments.overload_seconds,
            idle_seconds=arguments.idle_seconds,
            client=arguments.client,
        ),
        settings=settings,
        compare={", ".join(arguments.compare): compared} if arguments.compare else None,
        version=arguments.version,
        images=arguments.images,
        say=console.note,
    )
    console.say(format_result(result))
    if arguments.out:
        Path(arguments.out).write_text(json.dumps(result.to_json(), indent=2) + "\n", encoding="utf-8")
    if arguments.chart:
        draw_result(result, arguments.chart)
    return 0


def server_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the checked settings from --config, then --set, then the flags of the runtime."""
    from cvserve.serving import load_settings

    values = file_and_set(arguments)
    for key in ("runtime", "precision", "threads"):
        if getattr(arguments, key) is not None:
            values[key] = getattr(arguments, key)
    load_settings(values)
    return values


def _counts(text: str) -> tuple[int, ...]:
    return tuple(sorted({positive(part.strip()) for part in text.split(",")}))


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value
