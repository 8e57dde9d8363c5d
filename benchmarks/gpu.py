"""Compares an ONNX graph on a GPU with the same graph on the CPU: answers, rates, and the time of first calls.

It also measures two batch sizes in turn, and other options of onnxruntime.

    python benchmarks/gpu.py models/flowers models/cells --images photos --out gpu.json

Needs onnxruntime-gpu and an NVIDIA GPU. Each model is opened as the server opens it ("served") and, to compare, with
TF32 and with cuDNN's exhaustive search, which are onnxruntime's own defaults.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cvserve import artifact as artifacts
from cvserve.artifact import Artifact
from cvserve.bench.images import make_images
from cvserve.extras import require
from cvserve.pipeline import Pipeline
from cvserve.runtimes import cuda, open_graph
from cvserve.runtimes.device import Resources, parse_device

BATCHES = (1, 2, 3, 5, 8, 16, 32)
SETTLE_CALLS = 5
TURNS = 5
SECONDS = 0.25
"""Of timed calls, for each batch size."""

VARIANTS: Mapping[str, Mapping[str, Any] | None] = {
    "served": None,
    "one session": {},
    "tf32": {"use_tf32": 1},
    "exhaustive": {"cudnn_conv_algo_search": "EXHAUSTIVE"},
    "own defaults": {"use_tf32": 1, "cudnn_conv_algo_search": "EXHAUSTIVE"},
}

Run = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="directories of models with an ONNX graph")
    parser.add_argument("--device", default="gpu:0")
    parser.add_argument("--images", type=Path, help="a folder of JPEGs; without it images are made")
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    arguments = parser.parse_args()
    results = [measure(artifacts.read(path), arguments.device, arguments.images) for path in arguments.models]
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def measure(artifact: Artifact, device: str, images: Path | None) -> dict[str, Any]:
    """All variants of one model, printed as they come."""
    graph = next(graph for graph in artifact.manifest.graphs if graph.format == "onnx")
    path = artifact.directory / graph.path
    on_cpu = open_graph(path, "onnx")
    pipeline = Pipeline(artifact, on_cpu)
    feed = _feed(pipeline, images, max(BATCHES))
    size = len(next(iter(feed.values())))
    reference = on_cpu.run(feed)
    cpu_rate = max(_rate(on_cpu.run, {name: array[:count] for name, array in feed.items()}) for count in (1, 8))
    result: dict[str, Any] = {"model": artifact.manifest.name, "task": artifact.manifest.task, "cpu_rate": cpu_rate}
    print(f"\n{artifact.manifest.name} ({artifact.manifest.task}), {path.stat().st_size >> 20} MiB, {size} images")
    print(f"processor: {cpu_rate:.0f} images/s")
    for name, changes in VARIANTS.items():
        began = time.perf_counter()
        run = _open(path, device, changes)
        opened = time.perf_counter() - began
        firsts, rates = {}, {}
        for count in BATCHES:
            part = {key: array[:count] for key, array in feed.items()}
            began = time.perf_counter()
            run(part)
            firsts[count] = (time.perf_counter() - began) * 1000
            rates[count] = _rate(run, part)
        turns = _turns(run, feed)
        agreement = _agreement(reference, run(feed))
        result[name] = {"open_s": opened, "first_ms": firsts, "rate": rates, "turns_ms": turns, "agreement": agreement}
        print(f"{name}: opened in {opened:.1f} s")
        print("  first call ms: " + ", ".join(f"{count}: {value:.0f}" for count, value in firsts.items()))
        print("  images/s:    " + ", ".join(f"{count}: {value:.0f}" for count, value in rates.items()))
        print(f"  1 and 8 in turns: {turns:.1f} ms a call")
        for output, text in agreement.items():
            print(f"  {output}: {text}", flush=True)
    return result


def _open(path: Path, device: str, changes: Mapping[str, Any] | None) -> Run:
    if changes is None:
        return open_graph(path, "onnx", device=device, threads=1).run
    runtime = require("onnxruntime")
    providers = [(cuda.PROVIDER, {**cuda.provider_options(parse_device(device), Resources()), **changes})]
    session = runtime.InferenceSession(str(path), providers=providers, enable_fallback=0)
    names = [item.name for item in session.get_outputs()]
    return lambda feed: dict(zip(names, session.run(names, dict(feed)), strict=True))


def _feed(pipeline: Pipeline, folder: Path | None, count: int) -> dict[str, np.ndarray]:
    sources: list[Any] = sorted(folder.glob("*.jp*g"))[:count] if folder else []
    sources = sources or list(make_images(8))
    prepared = [pipeline.prepare(sources[index % len(sources)]).pixels for index in range(count)]
    return dict(pipeline.encode(np.stack(prepared)))


def _rate(run: Run, feed: Mapping[str, np.ndarray]) -> float:
    for _ in range(SETTLE_CALLS):
        run(feed)
    calls, began = 0, time.perf_counter()
    while (taken := time.perf_counter() - began) < SECONDS:
        run(feed)
        calls += 1
    return calls * len(next(iter(feed.values()))) / taken


def _turns(run: Run, feed: Mapping[str, np.ndarray]) -> float:
    parts = [{name: array[:count] for name, array in feed.items()} for count in (1, 8)]
    began = time.perf_counter()
    for part in parts * TURNS:
        run(part)
    return (time.perf_counter() - began) * 1000 / (2 * TURNS)


def _agreement(reference: Mapping[str, np.ndarray], answers: Mapping[str, np.ndarray]) -> dict[str, str]:
    told = {}
    for name, expected in reference.items():
        answer = answers[name]
        if expected.dtype.kind in "iub":
            told[name] = f"{np.count_nonzero(expected != answer)} of {expected.size} values differ"
        else:
            largest = float(np.abs(expected - answer).max())
            told[name] = f"largest difference {largest:.2e} of values up to {float(np.abs(expected).max()):.3g}"
            if expected.ndim >= 2 and expected.shape[-1] > 1:
                differ = np.count_nonzero(expected.argmax(-1) != answer.argmax(-1))
                told[name] += f", {differ} of {expected[..., 0].size} argmax differ"
    return told


if __name__ == "__main__":
    main()
