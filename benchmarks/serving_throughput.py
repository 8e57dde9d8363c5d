"""Measures served images a second beside the in-process baseline, with and without batching, in one run.

    python benchmarks/serving_throughput.py --runtime onnx                      # a MobileNetV2 with random weights
    python benchmarks/serving_throughput.py models/flowers --runtime tensorflow --out results.json

It calls `cvserve bench`, for a model that is exported here when none is given. docs/benchmarks.md explains the figures.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from cvserve.bench import BenchPlan, bench, draw_result, format_result
from cvserve.bench.images import make_images
from cvserve.bench.results import CONCURRENCY
from cvserve.settings import with_overrides

OFF = "batching off"


def make_model(to: str) -> None:
    """Exports a MobileNetV2 of 224 x 224 with random weights, which cost as much as trained ones, to `to`."""
    import keras

    from cvserve.export import export_model
    from cvserve.models import create_model, default_preproc
    from cvserve.preproc import preprocess

    keras.utils.set_random_seed(0)
    preproc = default_preproc("classification", "mobilenet_v2", 224)
    export_model(
        create_model("classification", "mobilenet_v2", num_classes=1000, image_size=224),
        to,
        task="classification",
        labels=[f"class {index}" for index in range(1000)],
        preproc=preproc,
        parity_images=np.stack([preprocess(image, preproc)[0] for image in make_images(4)]),
        formats=("saved_model", "onnx"),
        on_step=say,
    )


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    if sys.argv[1:2] == ["--make"]:
        return make_model(sys.argv[2])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="a model's directory; without it a MobileNetV2 is made")
    parser.add_argument("--runtime", default="onnx", choices=["auto", "onnx", "tensorflow", "litert"])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement in a round")
    parser.add_argument("--clients", type=int, nargs="+", default=list(CONCURRENCY), metavar="N")
    parser.add_argument("--client", choices=["light", "grpc"], default="grpc")
    parser.add_argument("--overload-seconds", type=float, default=10.0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of both servers")
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    parser.add_argument("--chart", type=Path, help="and an image of them here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        if arguments.model is None:
            arguments.model = f"{directory}/mobilenet_v2"
            # In a process of its own: TensorFlow's threads would stay.
            subprocess.run([sys.executable, __file__, "--make", arguments.model], check=True)
        result = bench(
            arguments.model,
            BenchPlan(
                concurrency=tuple(sorted(set(arguments.clients))),
                rounds=arguments.rounds,
                seconds=arguments.seconds,
                overload_seconds=arguments.overload_seconds,
                client=arguments.client,
            ),
            settings={"runtime": arguments.runtime, **with_overrides({}, arguments.set)},
            compare={OFF: {"batching": False}},
            say=say,
        )
    print(format_result(result))
    on, off = result.servers["served"].best, result.servers[OFF].best
    gain = max(result.graph.values()) / result.graph[1]
    print(f"\non / off {on.rate / off.rate:.2f}; the graph itself gains {gain:.2f} from batching")
    if arguments.out:
        arguments.out.write_text(json.dumps(result.to_json(), indent=2) + "\n")
    if arguments.chart:
        draw_result(result, arguments.chart)
    return None


if __name__ == "__main__":
    main()
