"""Scores a run directory, or an exported model through any runtime, on a split of a dataset.

--out also gets, of a classifier: confusion.png; of a detector: precision_recall.png, worst.jpg (the images with the
greatest loss, truth and answers drawn on them), and detections.json with ground_truth.json in COCO's formats, from
which pycocotools computes the same mAP. A detector is scored with all answers whose score is at least 0.001, at most
100 an image, whatever thresholds it is used with. Of a segmentation model: confusion.png (in percent of each class's
pixels) and worst.jpg (the images with the least mIoU: image, truth, answer and errors side by side); pixels are
scored at the size of the original images, and those without a class (void) count nowhere.

Of a captioner --out gets captions.jpg (the worst and the best, with the true sentences most like them), and
captions.json with ground_truth.json in COCO's formats, from which pycocoevalcap computes the same scores.
"""

from __future__ import annotations

import argparse
import json

from cvserve import console
from cvserve.cli.arguments import add_device, add_runtime, example, positive
from cvserve.cli.failures import list_failures
from cvserve.cli.libraries import load_tensorflow


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="RUN_OR_MODEL", help="a run directory, or a model's directory")
    parser.add_argument("--data", metavar="DIR", help="the dataset; default: the one that a run was trained on")
    parser.add_argument("--split", choices=("train", "val", "test"), default="val", help="default: val")
    parser.add_argument("--out", metavar="DIR", help="write evaluation.json and the files named above there")
    parser.add_argument("--json", action="store_true", help="print the scores as JSON")
    parser.add_argument("--batch-size", type=positive, default=32, metavar="N", help="images a call; default: 32")
    parser.add_argument(
        "--average",
        metavar="VIEWS",
        help="of a segmentation run: mean of the probabilities over mirrored and resized images, such as "
        "flip,0.75,1.25",
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
