"""Run the whole path on generated pictures.

Trains a small classifier, exports SavedModel, ONNX and TFLite and compares them, starts the server and asks it over
gRPC, predicts a folder, and shows that all answers are the same. Writes summary.json, overview.png and annotated
pictures. Takes a few minutes on two cores and downloads nothing.
"""

from __future__ import annotations

import argparse

from cvserve import console
from cvserve.cli.arguments import example, not_negative
from cvserve.cli.libraries import load_tensorflow


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", default="demo_output", metavar="DIR", help="where everything goes (demo_output)")
    parser.add_argument("--seed", type=not_negative, default=1, metavar="N", help="of pictures and training (1)")
    example(parser, "cvserve demo --out demo_output")


def run(arguments: argparse.Namespace) -> int:
    load_tensorflow()
    from cvserve.demo import run_demo

    run_demo(arguments.out, seed=arguments.seed)
    console.say(f"\nsee {arguments.out}/overview.png, annotated/, summary.json and evaluation/confusion.png")
    return 0
