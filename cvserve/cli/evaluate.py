"""Scores a run directory, or an exported model in any runtime, on a split of a data set.

With --out the scores are written to evaluation.json, together with files of the task:

classification: confusion.png.
detection: precision_recall.png; worst.jpg, the images with the greatest loss, with true and predicted objects;
    detections.json and ground_truth.json in COCO's formats, from which pycocotools computes the same mAP. Scored are
    the predictions with a score of at least 0.001, at most 100 for each image, whatever thresholds the model has.
segmentation: confusion.png, in percent of each class's pixels; worst.jpg, the images with the lowest mIoU, with labels,
    prediction and errors. Pixels are counted at the size of the original images; void pixels do not count.
captioning: captions.jpg, the worst and the best captions with the true sentences that are most like them;
    captions.json and ground_truth.json in COCO's formats, from which pycocoevalcap computes the same scores.
"""

from __future__ import annotations

import argparse
import json

from cvserve import console
from cvserve.cli.arguments import add_device, add_runtime, example, positive
from cvserve.cli.failures import list_failures
from cvserve.cli.libraries import load_tensorflow


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `cvserve evaluate`."""
    parser.add_argument("target", metavar="RUN_OR_MODEL", help="a run directory, or a model's directory")
    parser.add_argument("--data", metavar="DIR", help="the data set; default: the one that the run was trained on")
    parser.add_argument("--split", choices=("train", "val", "test"), default="val", help="default: val")
    parser.add_argument("--out", metavar="DIR", help="write evaluation.json and the files named above there")
    parser.add_argument("--json", action="store_true", help="print the scores as JSON")
    parser.add_argument("--batch-size", type=positive, default=32, metavar="N", help="images in each call; default: 32")
    parser.add_argument(
        "--average",
        metavar="VIEWS",
        help="only for segmentation runs: predict from the mean of the probabilities over mirrored and resized images, "
        "such as flip,0.75,1.25",
    )
    add_device(add_runtime(parser))
    example(
        parser,
        "cvserve evaluate runs/flowers --split val --out runs/flowers/evaluation",
        "cvserve evaluate models/flowers --data photos/ --runtime litert",
        "cvserve evaluate runs/cells --split test --out runs/cells/test",
        "cvserve evaluate runs/streets --split test --average flip,0.75,1.25",
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints the scores; returns the exit code."""
    from cvserve.evaluation import evaluate
    from cvserve.runs import is_run

    if is_run(arguments.target):
        load_tensorflow()
    evaluation = evaluate(
        arguments.target,
        arguments.data,
        split=arguments.split,
        runtime=arguments.runtime,
        precision=arguments.precision,
        threads=arguments.threads,
        device=arguments.device,
        batch_size=arguments.batch_size,
        average=arguments.average,
        out=arguments.out,
    )
    if arguments.json:
        console.say(json.dumps(evaluation.to_dict(), ensure_ascii=False))
    else:
        report = evaluation.report
        console.table(*report.table())
        console.say(
            f"{evaluation.target}: {report.headline()} on {report.images} images of {evaluation.data} "
            f"({evaluation.split})"
        )
    return list_failures(evaluation.failed, len(evaluation.failed), done=evaluation.report.images)
