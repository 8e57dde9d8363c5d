"""Compares a served detector with its Keras network, on every image of a split, sent as JPEG bytes over gRPC.

python benchmarks/served_boxes.py --run runs/bccd --model models/bccd --data ../shared/data/bccd [--split test]

The reference is the run's network in Keras, with the same `preproc` and `postproc`. Each of its objects must have one
partner in the served answer: of the same class, with every side within half a pixel of the original image. No other
objects may be served. Objects within a thousandth of the score threshold may be in only one of the answers.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cvserve import console
from cvserve.data import open_dataset
from cvserve.demo.server import running_server
from cvserve.evaluation.predictors import open_predictor
from cvserve.postproc import DetectionResult, decode_outputs
from cvserve.preproc import preprocess

PIXELS = 0.5
AT_THE_THRESHOLD = 1e-3


@dataclass
class Found:
    """What one image's comparison says. shift: the largest, in pixels, of matched objects' sides."""

    objects: int
    alone: int
    shift: float
    score: float


def compare(served: DetectionResult, wanted: DetectionResult, threshold: float) -> Found:
    """Pairs the objects, best first, each with the nearest free one of its class."""
    free = np.ones(len(served), bool)
    shift = score = 0.0
    alone = 0
    for box, value, index in zip(wanted.boxes, wanted.scores, wanted.indexes, strict=True):
        away = np.abs(served.boxes - box).max(axis=1, initial=0.0)
        away[~free | (served.indexes != index)] = np.inf
        nearest = int(away.argmin()) if len(away) else -1
        if nearest < 0 or away[nearest] > PIXELS:
            alone += value > threshold + AT_THE_THRESHOLD
            continue
        free[nearest] = False
        shift = max(shift, float(away[nearest]))
        score = max(score, float(abs(served.scores[nearest] - value)))
    alone += int((served.scores[free] > threshold + AT_THE_THRESHOLD).sum())
    return Found(len(wanted), int(alone), shift, score)


def keras_results(run: Path, images: list[Path]) -> tuple[list[DetectionResult], float]:
    """The network's own answers, and its score threshold."""
    predictor = open_predictor(run)
    results: list[Any] = []
    for image in images:
        pixels, geometry = preprocess(image, predictor.contract.preproc)
        results += decode_outputs(predictor.predict(pixels[None]), [geometry], predictor.contract)
    return results, predictor.contract.postproc.score_threshold


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="the run directory")
    parser.add_argument("--model", type=Path, required=True, help="the model exported from it, in its repository")
    parser.add_argument("--data", required=True, help="the data set")
    parser.add_argument("--split", default="test")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    asked = parser.parse_args()

    dataset = open_dataset(asked.data, asked.split, task="detection")
    images = [Path(str(dataset.image(index))) for index in range(len(dataset))]
    wanted, threshold = keras_results(asked.run, images)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server(asked.model.parent, [asked.model.name], Path(folder) / "server.log") as client,
    ):
        served = list(client.detect_many(asked.model.name, (image.read_bytes() for image in images)))
    found = [compare(mine, theirs, threshold) for mine, theirs in zip(served, wanted, strict=True)]
    figures = {
        "images": len(found),
        "objects": sum(item.objects for item in found),
        "without_a_partner": sum(item.alone for item in found),
        "largest_shift_pixels": max(item.shift for item in found),
        "largest_score_difference": max(item.score for item in found),
    }
    console.table([(name, value) for name, value in figures.items()], ("figure", "value"))
    if asked.out is not None:
        asked.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0 if not figures["without_a_partner"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
