"""Trains a model and leaves a run directory: the network, its scores, curves, and what it takes to resume.

Settings come from the model's defaults, then --config, then the flags, then --set; the ones used are written to
config.yaml in the run directory. --data is a folder with one folder a class (or train/, val/ and test/ of such), or
"scenes" for generated images.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cvserve import console
from cvserve.cli.arguments import example, not_negative, positive
from cvserve.cli.libraries import load_tensorflow

_FLAGS = (
    # flag, key of TrainConfig, type, placeholder, help
    ("--task", "task", str, "TASK", "classification (default)"),
    ("--model", "model", str, "NAME", "network, such as resnet18, resnet20 or mobilenet_v2"),
    ("--weights", "weights", str, "FILE", "start from these weights, or imagenet; default: from scratch"),
    ("--data", "data", str, "DIR", "the dataset's folder, or scenes"),
    ("--image-size", "image_size", positive, "N", "side of the network's input in pixels"),
    ("--epochs", "epochs", positive, "N", "passes over the training images"),
    ("--minutes", "minutes", float, "X", "end in this time, with as many epochs as fit, --epochs at most"),
    ("--batch-size", "batch_size", positive, "N", "images a step"),
    ("--optimizer", "optimizer.name", str, "NAME", "sgd or adamw"),
    ("--learning-rate", "optimizer.learning_rate", float, "X", "the highest, after the warm-up"),
    ("--label-smoothing", "label_smoothing", float, "X", "0 for none"),
    ("--precision", "precision", str, "NAME", "float32, or bfloat16 where the CPU has it"),
    ("--patience", "patience", positive, "N", "stop after this many epochs without a better score"),
    ("--seed", "seed", not_negative, "N", "of everything random"),
    ("--workers", "workers", positive, "N", "threads that decode and augment"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, metavar="DIR", help="the run directory to make")
    parser.add_argument("--resume", action="store_true", help="go on with the unfinished run in --out")
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
        "cvserve train --config runs/flowers/config.yaml --set optimizer.weight_decay=0.01 --out runs/flowers2",
        "cvserve train --out runs/flowers --resume",
    )


def run(arguments: argparse.Namespace) -> int:
    from cvserve.runs import CONFIG_FILE
    from cvserve.settings import with_overrides
    from cvserve.training import TrainConfig

    out = Path(arguments.out)
    path = arguments.config
    if path is None and arguments.resume and (out / CONFIG_FILE).is_file():
        path = out / CONFIG_FILE
    config = TrainConfig.load(path, with_overrides(_nested(arguments), arguments.set))
    load_tensorflow()  # only now: a misspelt setting is told at once
    from cvserve.training import train

    finished = train(config, out, resume=arguments.resume)
    scores = ", ".join(f"{name} {value:.4g}" for name, value in finished.metrics.items())
    console.say(f"{out}: {scores}")
    console.say(f"next: cvserve export {out} --to models/{out.name}")
    return 0


def _nested(arguments: argparse.Namespace) -> dict[str, Any]:
    """The flags that were given, as settings."""
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
