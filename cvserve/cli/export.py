"""Packs the best network of a run as SavedModel, ONNX and TFLite: the next version of a model.

Each format answers validation images and is compared with the network; if one answers differently, nothing is
published. cvserve serve, cvserve predict and TensorFlow Serving take the resulting directory as it is.
"""

from __future__ import annotations

import argparse

from cvserve import console
from cvserve.cli.arguments import example, names, positive
from cvserve.cli.decoding import add_decoding, decoding_of
from cvserve.cli.libraries import load_tensorflow
from cvserve.errors import InvalidInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command."""
    from cvserve.export.targets import TARGETS

    parser.add_argument("run_directory", metavar="RUN", help="a run directory, as cvserve train makes it")
    parser.add_argument(
        "--to", required=True, metavar="DIR", help="the model's directory; its name is the model's name"
    )
    parser.add_argument(
        "--formats", metavar="A,B", help=f"some of {','.join(TARGETS)}; default: all", type=names(tuple(TARGETS))
    )
    parser.add_argument("--data", metavar="DIR", help="a dataset to compare on; default: that of the training")
    parser.add_argument("--split", choices=("train", "val", "test"), default="val", help="its images; default: val")
    parser.add_argument(
        "--images",
        "--pictures",
        dest="images",
        type=positive,
        default=64,
        metavar="N",
        help="how many images; default: 64",
    )
    parser.add_argument("--licence", default="", metavar="TEXT", help="noted in the manifest")
    parser.add_argument("--notes", default="", metavar="TEXT", help="noted in the manifest")
    parser.add_argument(
        "--no-detect-signature",
        dest="detect_signature",
        action="store_false",
        help="detection: leave out the extra signature that decodes and suppresses boxes in the graph",
    )
    parser.add_argument(
        "--no-step-graphs",
        dest="step_graphs",
        action="store_false",
        help="captioning: leave out the extra signatures with which a client searches sentences itself",
    )
    add_decoding(parser)
    example(
        parser,
        "cvserve export runs/flowers --to models/flowers",
        "cvserve export runs/flowers --to models/flowers --formats onnx,tflite",
        "cvserve export runs/captions --to models/teller --beam 4 --length-penalty 0.7 --no-repeat-ngram 3",
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from cvserve.export import export_run, report_table
    from cvserve.export.task_export import TASK_EXPORTS
    from cvserve.runs import load_run

    decoding = decoding_of(arguments)
    task = load_run(arguments.run_directory).task  # before TensorFlow's seconds: a wrong path is reported at once
    if decoding is not None and not TASK_EXPORTS[task].takes_decoding:
        raise InvalidInput(
            f"only captioning models take decoding settings; {arguments.run_directory} is a model for {task}"
        )
    load_tensorflow()
    artifact = export_run(
        arguments.run_directory,
        arguments.to,
        formats=arguments.formats,
        data=arguments.data,
        split=arguments.split,
        image_count=arguments.images,
        licence=arguments.licence,
        notes=arguments.notes,
        detect_signature=arguments.detect_signature,
        decoding=decoding,
        step_graphs=arguments.step_graphs,
        on_step=console.note,
    )
    console.say(report_table(artifact.manifest))
    console.say(f"published {artifact.directory}")
    return 0
