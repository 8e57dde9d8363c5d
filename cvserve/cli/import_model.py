"""Packs a model of another tool (.keras, SavedModel, ONNX or TFLite) as the next version of a model.

The spec is a short YAML file with the information that the model file does not contain:

    task: classification
    labels: labels.txt                                  # one per line, in the spec's folder; or a list
    preproc: {resize: short_side, short_side: 256}      # height and width are the model's own
    input: {scale: 1/255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}

The network's input is (pixel * scale - mean) / std. Its layout and quantisation are read from the model file.
"""

from __future__ import annotations

import argparse

from cvserve import console
from cvserve.cli.arguments import example
from cvserve.cli.libraries import load_tensorflow


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command."""
    parser.add_argument("path", metavar="MODEL", help="a .keras, .onnx or .tflite file, or a SavedModel's directory")
    parser.add_argument("--spec", required=True, metavar="FILE.yaml", help="what the model is, and what its input is")
    parser.add_argument(
        "--to", required=True, metavar="DIR", help="the model's directory; its name is the model's name"
    )
    parser.add_argument("--labels", metavar="FILE", help="a file with one label a line, instead of the spec's")
    example(parser, "cvserve import model.tflite --spec spec.yaml --to models/mobilenet_v2")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from cvserve.export import import_model, report_table

    if arguments.path.lower().endswith((".keras", ".h5", ".hdf5")):
        load_tensorflow()
    artifact = import_model(arguments.path, arguments.spec, arguments.to, labels=arguments.labels, on_step=console.note)
    console.say(report_table(artifact.manifest))
    console.say(f"published {artifact.directory}")
    return 0
