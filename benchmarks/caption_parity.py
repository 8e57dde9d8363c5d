"""Compares a captioning model's sentences in every format and in the server, on all images of a split.

python benchmarks/caption_parity.py models/teller --data ../shared/data/coco_captions [--run runs/teller] [--out FILE]

The reference is the run's network in Keras if --run is given and the artifact was exported with the network's own
decoding, and the SavedModel otherwise. The token ids must be identical; the log probabilities are compared (relatively
where they are beyond 1). Compared are each runtime in one call, with batches of 1 and 8; each runtime step by step; and
the sentences that VisionService.Caption returns for the files' bytes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cvserve import artifact as artifacts
from cvserve import console
from cvserve.artifact import Artifact
from cvserve.data import open_dataset
from cvserve.demo.server import running_server
from cvserve.evaluation.predictors import open_predictor
from cvserve.export.comparison.captioning import CaptionComparison
from cvserve.pipeline import Pipeline
from cvserve.postproc import CaptionResult
from cvserve.postproc.decoders.captioning import decode_captioning
from cvserve.preproc import preprocess
from cvserve.runtimes import FORMAT_OF, usable_runtimes
from cvserve.stepwise import load_stepwise

Outputs = dict[str, np.ndarray]


@dataclass(frozen=True)
class Place:
    """Where the images were captioned. identical: of them, those with the same token ids (or sentence)."""

    name: str
    identical: int
    difference: float


def outputs_of(run: Callable[[np.ndarray], Outputs], pixels: np.ndarray, batch: int) -> Outputs:
    parts = [run(pixels[start : start + batch]) for start in range(0, len(pixels), batch)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def graph_of(pipeline: Pipeline) -> Callable[[np.ndarray], Outputs]:
    return lambda pixels: pipeline.runtime.run(pipeline.encode(pixels))


def places(artifact: Artifact, pixels: np.ndarray, wanted: Outputs) -> list[Place]:
    """Every runtime, in one call and step by step."""
    comparison = CaptionComparison(artifact.manifest, 1e-4)
    found = []

    def add(name: str, got: Outputs) -> None:
        compared = comparison.compare(got, wanted)
        found.append(Place(name, int(compared.agreeing.sum()), float(compared.differences.max())))

    for runtime in usable_runtimes(artifact.manifest):
        with Pipeline.load(artifact.directory, runtime=runtime) as pipeline:
            for batch in (1, 8):
                add(f"{runtime}, batches of {batch}", outputs_of(graph_of(pipeline), pixels, batch))
        if any(graph.steps for graph in artifact.manifest.graphs if graph.format == FORMAT_OF[runtime]):
            with load_stepwise(artifact.directory, runtime=runtime) as pipeline:
                add(f"{runtime}, step by step", outputs_of(graph_of(pipeline), pixels, 8))
    return found


def served(artifact: Artifact, files: list[bytes], wanted: list[CaptionResult]) -> Place:
    """The server's sentences; log probabilities by difference, relative beyond 1."""
    name = artifact.directory.resolve().parent.name
    with tempfile.TemporaryDirectory() as folder:
        # A repository of just this version: what else lies beside it need not be loaded.
        version = Path(folder) / "models" / name / str(artifact.version)
        version.parent.mkdir(parents=True)
        version.symlink_to(artifact.directory.resolve(), target_is_directory=True)
        with running_server(Path(folder) / "models", [name], Path(folder) / "server.log") as client:
            results = list(client.caption_many(name, files))
    same = [mine.best.text == theirs.best.text for mine, theirs in zip(results, wanted, strict=True)]
    apart = [
        abs(mine.best.log_probability - theirs.best.log_probability) / max(abs(theirs.best.log_probability), 1.0)
        for mine, theirs in zip(results, wanted, strict=True)
    ]
    return Place("server (gRPC), sentences", sum(same), max(np.array(apart)[same], default=0.0))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the model's directory, or a version's")
    parser.add_argument("--data", required=True, help="the data set")
    parser.add_argument("--split", default="val")
    parser.add_argument("--run", type=Path, help="the run directory that it was exported from")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    asked = parser.parse_args()

    artifact = artifacts.read(asked.model)
    dataset = open_dataset(asked.data, asked.split, task="captioning")
    sources: list[Any] = [dataset.image(index) for index in range(len(dataset))]
    files = [source if isinstance(source, bytes) else Path(source).read_bytes() for source in sources]
    pixels = np.stack([preprocess(content, artifact.manifest.preproc)[0] for content in files])
    if asked.run is not None:
        ground_truth, wanted = "keras", outputs_of(open_predictor(asked.run).predict, pixels, 8)
    else:
        with Pipeline.load(artifact.directory, runtime="tensorflow") as pipeline:
            ground_truth, wanted = "the SavedModel", outputs_of(graph_of(pipeline), pixels, 8)
    sentences = decode_captioning(wanted, artifact.manifest)
    table = [*places(artifact, pixels, wanted), served(artifact, files, sentences)]
    different = len({item.best.text for item in sentences})
    console.say(f"{len(files)} images, {different} different sentences, compared with {ground_truth}")
    console.table(
        [(place.name, f"{place.identical} of {len(files)}", f"{place.difference:.1e}") for place in table],
        ("where", "identical", "log probability differs"),
    )
    if asked.out is not None:
        figures = {
            "images": len(files),
            "sentences": different,
            "against": ground_truth,
            "places": {place.name: [place.identical, place.difference] for place in table},
        }
        asked.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0 if all(place.identical == len(files) for place in table) else 1


if __name__ == "__main__":
    raise SystemExit(main())
