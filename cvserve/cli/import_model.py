"""Packs somebody else's model (.keras, SavedModel, ONNX or TFLite) as the next version of a model.

SPEC is a short YAML file that says what the file cannot say itself:

    task: classification
    labels: labels.txt              # one a line, beside the spec; or a list
    preproc: {height: 224, width: 224, resize: short_side, short_side: 256}
    input: {scale: 0.00784, mean: [1, 1, 1], layout: NHWC}     # value = (pixel * scale - mean) / std
"""

from __future__ import annotations

import argparse

from cvserve import console
from cvserve.cli.arguments import example


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="MODEL", help="a .keras, .onnx or .tflite file, or a SavedModel's directory")
    parser.add_argument("--spec", required=True, metavar="FILE.yaml", help="what the model is and takes")
    parser.add_argument(
        "--to", required=True, metavar="DIR", help="the model's directory; its name is the model's name"
    )
    example(parser, "cvserve import model.tflite --spec spec.yaml --to models/mobilenet_v2")


def run(arguments: argparse.Namespace) -> int:
    from cvserve.export import import_model, report_table

    artifact = import_model(arguments.path, arguments.spec, arguments.to)
    console.say(report_table(artifact.manifest))
    console.say(f"published {artifact.directory}")
    return 0
