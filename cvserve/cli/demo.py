"""Run the whole path on generated images.

Trains a small network for each task, exports SavedModel, ONNX and TFLite and compares them, starts the server and asks
it over gRPC, predicts a folder, and shows that all results are the same. Writes summary.json, overview.png and
annotated images. Takes a few minutes on two cores and downloads nothing.
"""

from __future__ import annotations

import argparse

from cvserve import console
from cvserve.cli.arguments import example, not_negative
from cvserve.cli.libraries import load_tensorflow
from cvserve.errors import InvalidInput
from cvserve.settings import nearest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.add_argument("--out", default="demo_output", metavar="DIR", help="folder for all files (demo_output)")
    parser.add_argument("--seed", type=not_negative, default=1, metavar="N", help="seed of images and training (1)")
    parser.add_argument(
        "--tasks", nargs="+", metavar="TASK", help="classification, detection, segmentation, captioning; default: all"
    )
    example(parser, "cvserve demo --out demo_output", "cvserve demo --tasks detection")


def run(arguments: argparse.Namespace) -> int:
    """Runs the demo and shows where its results are."""
    load_tensorflow()
    from cvserve.demo import demo_tasks, run_demo

    known = {task.task: task for task in demo_tasks()}
    for name in arguments.tasks or ():
        if name not in known:
            raise InvalidInput(f"the demo has {', '.join(known)}, not {name!r}{nearest(name, list(known))}")
    chosen = [task for name, task in known.items() if name in (arguments.tasks or known)]
    run_demo(arguments.out, seed=arguments.seed, tasks=chosen)
    images = [f"{task.task}/evaluation/{name}" for task in chosen for name in task.look_at]
    folders = [f"{task.task}/annotated/" for task in chosen]
    console.say(f"\nsee in {arguments.out}: {', '.join(['overview.png', *folders, *images])} and summary.json")
    return 0
