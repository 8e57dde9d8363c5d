"""Trains a model and writes a run directory: the network, its scores, curves, and the state to resume from.

The tasks are captioning, classification, detection and segmentation; `cvserve models` lists the networks of each. A
setting comes from the task's defaults, then --config, then the flags, then --set; the settings that were used are
written to config.yaml in the run directory. --data is a folder in a layout that the task knows (for classification one
folder for each class, or train/, val/ and test/ with such folders), or "scenes" for generated images; docs/training.md
describes all of them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cvserve import console
from cvserve.cli.arguments import example, not_negative, positive
from cvserve.cli.libraries import load_tensorflow
from cvserve.training.tasks import TASKS

_FLAGS = (
    # flag, key of TrainConfig, type, placeholder, help
    ("--task", "task", str, "TASK", f"{', '.join(TASKS.names())}; default: classification"),
    ("--model", "model", str, "NAME", "network, such as resnet18; `cvserve models --task TASK` lists them"),
    ("--weights", "weights", str, "FILE", "start from the weights in this file, or imagenet; default: random weights"),
    ("--data", "data", str, "DIR", "the folder of the data set, or scenes"),
    ("--image-size", "image_size", positive, "N", "side of the network's input in pixels"),
    ("--epochs", "epochs", positive, "N", "passes over the training images"),
    ("--minutes", "minutes", float, "X", "time limit: as many epochs as fit, at most --epochs"),
    ("--batch-size", "batch_size", positive, "N", "images in each step"),
    ("--optimizer", "optimizer.name", str, "NAME", "sgd or adamw"),
    ("--learning-rate", "optimizer.learning_rate", float, "X", "the highest learning rate, after the warm-up"),
    ("--label-smoothing", "label_smoothing", float, "X", "0 for none"),
    ("--precision", "precision", str, "NAME", "float32, or bfloat16 for CPUs that have it"),
    ("--patience", "patience", positive, "N", "stop after this many epochs without a better score"),
    ("--seed", "seed", not_negative, "N", "seed of all random numbers"),
    ("--workers", "workers", positive, "N", "threads that decode and augment images"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `cvserve train`."""
    parser.add_argument("--out", required=True, metavar="DIR", help="the run directory to write")
    parser.add_argument("--resume", action="store_true", help="continue the unfinished run in --out")
    parser.add_argument("--config", metavar="FILE.yaml", help="settings to start from")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any other setting, such as augmentation.flip=false; may be repeated",
    )
    group = parser.add_argument_group("common settings")
    for flag, key, kind, placeholder, text in _FLAGS:
        group.add_argument(flag, dest=key, type=kind, metavar=placeholder, help=text)
    example(
        parser,
        "cvserve train --model resnet18 --data photos/ --epochs 40 --out runs/flowers",
        "cvserve train --task detection --model yolo --data coco/ --minutes 60 --out runs/streets",
        "cvserve train --config runs/flowers/config.yaml --set optimizer.weight_decay=0.01 --out runs/flowers2",
        "cvserve train --out runs/flowers --resume",
    )


def run(arguments: argparse.Namespace) -> int:
    """Trains; returns the exit code."""
    from cvserve.runs import CONFIG_FILE
    from cvserve.settings import with_overrides
    from cvserve.training import TrainConfig

    out = Path(arguments.out)
    path = arguments.config
    if path is None and arguments.resume and (out / CONFIG_FILE).is_file():
        path = out / CONFIG_FILE
    config = TrainConfig.load(path, with_overrides(_nested(arguments), arguments.set))
    load_tensorflow()  # takes seconds: a misspelt setting has been reported before
    from cvserve.training import train

    finished = train(config, out, resume=arguments.resume)
    scores = ", ".join(f"{name} {value:.4g}" for name, value in finished.metrics.items())
    console.say(f"{out}: {scores}")
    console.say(f"next: cvserve export {out} --to models/{out.name}")
    return 0


def _nested(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the flags that were given as nested settings."""
    values: dict[str, Any] = {}
    for _, key, *_ in _FLAGS:
        value = getattr(arguments, key)
        if value is not None:
            *parents, last = key.split(".")
            target = values
            for parent in parents:
                target = target.setdefault(parent, {})
            target[last] = value
    return values
