"""Measures the time of a captioner: encoding, one token, and a whole sentence in one call and step by step.

python benchmarks/captioning_cost.py models/teller [--images photos/] [--widths 1,4,16] [--rounds 9] [--out FILE]

For each runtime: milliseconds of the encoder (1 and 8 images), of one step (1, 4, 8 and 32 sentences at a time), of
the artifact's own graph in one call, and of searches step by step with beams of each width. Medians of rounds in which
all take turns. "a token" of a search is its time without the encoding, by the tokens of the longest sentence in the
batch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cvserve import artifact as artifacts
from cvserve import console
from cvserve.artifact import Artifact, Decoding, Graph
from cvserve.artifact.graphs import MEMORY, STATE
from cvserve.batch import Sources
from cvserve.pipeline import Pipeline
from cvserve.preproc import preprocess
from cvserve.runtimes import FORMAT_OF, Runtime, usable_runtimes
from cvserve.stepwise import load_stepwise, open_steps

ROWS = (1, 4, 8, 32)
IMAGES = (1, 8)

Call = Callable[[], Any]


def images_of(artifact: Artifact, folder: str | None) -> np.ndarray:
    """Returns uint8 [8, H, W, 3]: photographs, or blocks of color where there are none."""
    spec = artifact.manifest.preproc
    if folder is not None:
        paths = [source.path for source in Sources([folder])]
        return np.stack([preprocess(paths[index % len(paths)], spec)[0] for index in range(max(IMAGES))])
    blocks = np.random.default_rng(0).integers(0, 256, (max(IMAGES), 4, 4, 3), np.uint8)
    return np.stack([preprocess(block.repeat(64, axis=0).repeat(64, axis=1), spec)[0] for block in blocks])


def step_feed(step: Runtime, encoded: dict[str, np.ndarray], rows: int) -> dict[str, np.ndarray]:
    """Returns the inputs of a step of `rows` sentences about the first image."""
    feed = {"tokens": np.full(rows, 1, np.int32), "position": np.zeros(rows, np.int32)}
    feed |= {
        name: np.repeat(value[:1], rows, axis=0) for name, value in encoded.items() if name.startswith((MEMORY, STATE))
    }
    return {name: value for name, value in feed.items() if name in step.inputs}


def calls_of(artifact: Artifact, graph: Graph, runtime: str, pixels: np.ndarray, widths: Sequence[int]) -> dict:
    """Returns the functions to measure by name; those of searches return the sentences."""
    assert graph.steps is not None
    encode, step = open_steps(artifact.directory, graph, graph.steps)
    name = artifact.manifest.input.name
    calls: dict[str, Call] = {}
    for count in IMAGES:
        calls[f"encode, {count}"] = lambda count=count: encode.run({name: pixels[:count]})
    encoded = encode.run({name: pixels[:1]})
    for rows in ROWS:
        feed = step_feed(step, encoded, rows)
        calls[f"step, {rows}"] = lambda feed=feed: step.run(feed)
    whole = Pipeline.load(artifact.directory, runtime=runtime)
    for count in IMAGES:
        calls[f"one call, {count}"] = lambda count=count: whole.runtime.run({name: pixels[:count]})
    for width in widths:
        searching = load_stepwise(
            artifact.directory, runtime=runtime, decoding=Decoding(method="beam", beam_width=width)
        )
        for count in IMAGES:
            calls[f"steps, beam {width}, {count}"] = lambda count=count, found=searching: found.runtime.run(
                {name: pixels[:count]}
            )
    return calls


def timed(calls: dict[str, Call], rounds: int) -> dict[str, float]:
    """Returns the median milliseconds of each."""
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def tokens_of(calls: dict[str, Call], manifest: Any) -> dict[str, int]:
    """Returns the tokens of the longest sentence that each search finds, <end> included."""
    ids = manifest.output("token_ids").name
    searches = {name: call for name, call in calls.items() if name.startswith(("one call", "steps"))}
    return {name: int((call()[ids] != 0).sum(axis=-1).max()) for name, call in searches.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the model's directory, or a version's")
    parser.add_argument("--images", help="a folder of photographs; default: blocks of colour")
    parser.add_argument("--widths", default="1,4,16", help="of the beams that are searched step by step")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    asked = parser.parse_args()

    artifact = artifacts.read(asked.model)
    pixels = images_of(artifact, asked.images)
    widths = [int(width) for width in asked.widths.split(",")]
    figures: dict[str, Any] = {}
    rows = []
    for runtime in usable_runtimes(artifact.manifest):
        [graph] = [graph for graph in artifact.manifest.graphs if graph.format == FORMAT_OF[runtime]]
        calls = calls_of(artifact, graph, runtime, pixels, widths)
        tokens, times = tokens_of(calls, artifact.manifest), timed(calls, asked.rounds)
        figures[runtime] = {"milliseconds": times, "tokens": tokens}
        for name, value in times.items():
            count = tokens.get(name)
            encoding = times[f"encode, {name.rpartition(', ')[2]}"] if count else 0.0
            token = f"{(value - encoding) / count:.3f}" if count else None
            rows.append((runtime, name, f"{value:.2f}", count, token))
    decoding = artifact.manifest.postproc.decoding
    console.say(f"{artifact.name}, one call: {'as it is' if decoding is None else decoding.describe()}")
    console.table(rows, ("runtime", "what, of how many", "ms", "tokens", "ms a token"))
    if asked.out is not None:
        asked.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
