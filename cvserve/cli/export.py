"""Packs the best network of a run as SavedModel, ONNX and TFLite: the next version of a model.

Each format is run over validation pictures and compared with the network; if one answers differently, nothing is
published. The result is a directory that cvserve serve, cvserve predict and TensorFlow Serving take as it is.
"""

from __future__ import annotations

import argparse

from cvserve import console
from cvserve.cli.arguments import example, names, positive
from cvserve.cli.libraries import load_tensorflow


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from cvserve.runtimes import FORMAT_OF

    formats = tuple(FORMAT_OF.values())
    parser.add_argument("run_directory", metavar="RUN", help="what cvserve train made")
    parser.add_argument(
        "--to", required=True, metavar="DIR", help="the model's directory; its name is the model's name"
    )
    parser.add_argument(
        "--formats", metavar="A,B", help=f"some of {','.join(formats)}; default: all", type=names(formats)
    )
    parser.add_argument("--data", metavar="DIR", help="the pictures to compare on; default: those of the training")
    parser.add_argument("--split", choices=("train", "val", "test"), default="val", help="which of them; default: val")
    parser.add_argument("--pictures", type=positive, default=64, metavar="N", help="how many of them; default: 64")
    parser.add_argument("--licence", default="", metavar="TEXT", help="noted in the manifest")
    parser.add_argument("--notes", default="", metavar="TEXT", help="noted in the manifest")
    parser.add_argument(
        "--no-detect-signature",
        dest="detect_signature",
        action="store_false",
        help="detection: leave out the signature that decodes and suppresses boxes in the graph, for other clients",
    )
    example(
        parser,
        "cvserve export runs/flowers --to models/flowers",
        "cvserve export runs/flowers --to models/flowers --formats onnx,tflite",
    )


def run(arguments: argparse.Namespace) -> int:
    from cvserve.export import export_run, report_table
    from cvserve.runs import load_run

    load_run(arguments.run_directory)  # before TensorFlow's seconds: a wrong path is told at once
    load_tensorflow()
    chosen = {"formats": arguments.formats} if arguments.formats else {}
    artifact = export_run(
        arguments.run_directory,
        arguments.to,
        data=arguments.data,
        split=arguments.split,
        pictures=arguments.pictures,
        licence=arguments.licence,
        notes=arguments.notes,
        detect_signature=arguments.detect_signature,
        on_step=console.note,
        **chosen,
    )
    console.say(report_table(artifact.manifest))
    console.say(f"published {artifact.directory}")
    return 0
