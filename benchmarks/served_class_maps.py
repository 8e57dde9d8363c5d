"""Compares a served segmentation model with its Keras network, on every image of a split, sent over gRPC.

python benchmarks/served_class_maps.py --run runs/camvid --model models/camvid --data ../shared/data/camvid

The reference is the run's network in Keras, with the same `preproc` and `postproc`. The class of every pixel is
compared, in the size of the original image; at least 99.9 % must be the same, in the worst image too (where two classes
tie, the last digit decides). The server chooses the graph, or --runtime does.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any, cast

import numpy as np

from cvserve import console
from cvserve.data import open_dataset
from cvserve.demo.server import running_server
from cvserve.evaluation.predictors import open_predictor
from cvserve.postproc import SegmentationResult, decode_outputs
from cvserve.preproc import preprocess

WANTED = 0.999


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="the run directory")
    parser.add_argument("--model", type=Path, required=True, help="the model exported from it, in its repository")
    parser.add_argument("--data", required=True, help="the data set")
    parser.add_argument("--split", default="test")
    parser.add_argument("--runtime", default="auto", choices=["auto", "tensorflow", "onnx", "litert"])
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    asked = parser.parse_args()

    dataset = open_dataset(asked.data, asked.split, task="segmentation")
    sources: list[Any] = [dataset.image(index) for index in range(len(dataset))]
    files = [source if isinstance(source, bytes) else Path(source).read_bytes() for source in sources]
    predictor = open_predictor(asked.run)
    different, pixels, confidence = [], [], 0.0
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server(
            asked.model.parent, [asked.model.name], Path(folder) / "server.log", ["--runtime", asked.runtime]
        ) as client,
    ):
        for content, answer in zip(files, client.segment_many(asked.model.name, files), strict=True):
            image, geometry = preprocess(content, predictor.contract.preproc)
            [wanted] = decode_outputs(predictor.predict(image[None]), [geometry], predictor.contract)
            mine, theirs = cast(SegmentationResult, answer), cast(SegmentationResult, wanted)
            different.append(int((mine.class_map != theirs.class_map).sum()))
            pixels.append(theirs.class_map.size)
            sure = {item.label: item.confidence for item in theirs.classes}
            both = [abs(item.confidence - sure[item.label]) for item in mine.classes if item.label in sure]
            confidence = max([confidence, *both])
    shares = 1 - np.array(different) / np.array(pixels)
    figures = {
        "images": len(files),
        "pixels": sum(pixels),
        "different": sum(different),
        "same": 1 - sum(different) / sum(pixels),
        "same_in_the_worst_image": float(shares.min()),
        "largest_confidence_difference": confidence,
    }
    console.table([(name, value) for name, value in figures.items()], ("figure", "value"))
    if asked.out is not None:
        asked.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0 if shares.min() >= WANTED else 1


if __name__ == "__main__":
    raise SystemExit(main())
