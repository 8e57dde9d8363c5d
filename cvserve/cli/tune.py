"""Searches the settings that serve the most images per second within a latency limit, by measuring on this machine.

Every combination of runtime, instances, threads and batch size is measured briefly in process; the best few are served
to more and more clients. The settings go to --out, for cvserve serve --config. They limit the queue, so that requests
beyond the measured load are refused instead of answered late.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from cvserve import console
from cvserve.cli.arguments import example, names, positive
from cvserve.errors import InvalidInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command."""
    from cvserve.runtimes import RUNTIMES

    parser.add_argument("model", metavar="MODEL", help="a model's directory (its newest version) or a version's")
    parser.add_argument("--p99-ms", type=float, required=True, metavar="X", help="limit for 99 of 100 answers")
    parser.add_argument("--out", metavar="FILE.yaml", help="write the settings there; default: stdout")
    parser.add_argument("--version", type=positive, metavar="N", help="a version of the model; default: the newest")
    parser.add_argument(
        "--runtimes",
        type=names(RUNTIMES),
        default=(),
        metavar="R,R",
        help="to try; default: all usable ones",
    )
    parser.add_argument("--images", metavar="DIR", help="images to send; default: generated JPEGs of 500 x 375")
    parser.add_argument("--finalists", type=positive, default=3, metavar="N", help="candidates to serve; default: 3")
    parser.add_argument("--rounds", type=positive, default=2, metavar="N", help="default: 2")
    parser.add_argument("--seconds", type=float, default=2.0, metavar="X", help="of each measurement; default: 2")
    example(
        parser,
        "cvserve tune models/flowers --p99-ms 50 --out serve.yaml",
        "cvserve serve models/flowers --config serve.yaml",
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from cvserve.bench import TunePlan, tune

    if not 0 < arguments.seconds < 86400:
        raise InvalidInput(f"--seconds must be more than 0, not {arguments.seconds:g}")
    if arguments.out and not Path(arguments.out).resolve().parent.is_dir():
        raise InvalidInput(
            f"{arguments.out} cannot be written: there is no folder {Path(arguments.out).resolve().parent}"
        )
    if arguments.out and Path(arguments.out).is_dir():
        raise InvalidInput(f"{arguments.out} cannot be written: it is a folder")
    plan = TunePlan(
        arguments.p99_ms,
        runtimes=arguments.runtimes,
        finalists=arguments.finalists,
        rounds=arguments.rounds,
        seconds=arguments.seconds,
        screen_seconds=arguments.seconds / 4,
    )
    result = tune(arguments.model, plan, version=arguments.version, images=arguments.images, say=console.note)
    if not arguments.out:
        console.say(result.to_yaml().rstrip())
        return 0
    Path(arguments.out).write_text(result.to_yaml(), encoding="utf-8")
    rows = [
        (str(each.candidate), each.clients, each.rate, each.p50, each.p99, "best" if each is result.best else "")
        for each in result.tried
    ]
    console.table(rows, ("settings", "clients", "images/s", "p50 ms", "p99 ms", ""))
    console.say(f"{arguments.out}: {', '.join(f'{key} {value}' for key, value in result.settings.items())}")
    return 0
