"""The demo of classification, step by step; every step is a call that a user would make."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from cvserve import console
from cvserve.artifact import Artifact, read
from cvserve.batch import Sources, open_instances, open_sink, predict
from cvserve.data import Scenes, write_image_folder
from cvserve.demo.overview import draw_overview
from cvserve.demo.server import running_server
from cvserve.errors import CvserveError
from cvserve.evaluation import evaluate
from cvserve.export import export_run
from cvserve.pipeline import Pipeline
from cvserve.postproc import ClassificationResult
from cvserve.preproc import preprocess
from cvserve.runs import Run, write_json
from cvserve.runtimes import usable_runtimes
from cvserve.training import TrainConfig, train

Value = TypeVar("Value")

_MODEL = "scenes"
_PICTURES = {"train": 2000, "val": 300, "test": 120}
_TRAINING: dict[str, Any] = {
    "model": "resnet18",
    "model_options": {"width": 16, "stem": "deep", "shortcut": "pooled"},
    "image_size": 64,
    "epochs": 10,
    "batch_size": 16,
    "average_decay": 0.95,
    "optimizer": {"learning_rate": 0.04, "weight_decay": 0.001},
    "schedule": {"warmup_epochs": 1},
    "augmentation": {"flip": 0.5, "crop_scale": [0.7, 1.0]},
}


@dataclass
class _Log:
    """What was done, how long it took, what came of it."""

    rows: list[tuple[str, float, str]] = field(default_factory=list)

    def step(self, name: str, work: Callable[[], Value], outcome: Callable[[Value], str]) -> Value:
        console.say(f"--- {name}")
        start = time.perf_counter()
        value = work()
        self.rows.append((name, time.perf_counter() - start, outcome(value)))
        return value


def run_demo(out: str | Path, *, seed: int = 1) -> dict[str, Any]:
    """Runs everything into the folder `out` (emptied first if a demo made it) and returns its summary.json.

    Raises:
        CvserveError: `out` holds something else than an earlier demo, or two places answer differently.
    """
    out = _fresh(Path(out))
    log = _Log()
    pictures = log.step("generate pictures", lambda: _generate(out, seed), lambda _: f"{sum(_PICTURES.values())} JPEG")
    config = TrainConfig.load(None, {"data": str(pictures), "seed": seed, **_TRAINING})
    run = log.step("train", lambda: train(config, out / "run"), lambda run: f"val top-1 {run.metrics['top1']:.3f}")
    artifact = log.step(
        "export and compare",
        lambda: export_run(run.directory, out / "models" / _MODEL),
        lambda made: ", ".join(graph.format for graph in made.manifest.graphs),
    )
    scores = log.step(
        "score on test",
        lambda: evaluate(artifact.directory, str(pictures), split="test", out=out / "evaluation").report,
        lambda report: f"test top-1 {report.top1:.3f}",
    )
    tests = sorted((pictures / "test").rglob("*.jpg"))
    served = log.step(
        "serve and ask",
        lambda: _ask_server(out, tests),
        lambda answer: f"{len(tests)} pictures over gRPC, {answer['images_per_second']:.0f} a second",
    )
    rows = log.step(
        "predict a folder",
        lambda: _predict_folder(out, artifact, pictures / "test"),
        lambda rows: f"{len(rows)} rows, {len(tests)} annotated pictures",
    )
    agreement = log.step(
        "compare all answers",
        lambda: _compare(run, artifact, tests, served["scores"], rows),
        lambda table: f"largest difference {max(row['max_abs_difference'] for row in table):.1e}",
    )
    annotated = sorted((out / "annotated").rglob("*.jpg"))
    draw_overview(annotated[:: max(len(annotated) // 24, 1)][:24], out / "overview.png")
    summary = {
        "seconds": round(sum(seconds for _, seconds, _ in log.rows), 1),
        "steps": [{"step": name, "seconds": round(seconds, 1), "outcome": text} for name, seconds, text in log.rows],
        "test_top1": scores.top1,
        "graphs": [
            {"format": graph.format, "bytes": graph.bytes, **(graph.parity.model_dump() if graph.parity else {})}
            for graph in artifact.manifest.graphs
        ],
        "answers": agreement,
        "served_images_per_second": round(served["images_per_second"], 1),
    }
    write_json(out / "summary.json", summary)
    _show(summary)
    different = [row["where"] for row in agreement if not row["same_class"] or row["max_abs_difference"] > 1e-4]
    if different:
        raise CvserveError(f"the answers differ from Keras in: {', '.join(different)}; see {out / 'summary.json'}")
    return summary


def _fresh(out: Path) -> Path:
    if out.exists() and any(out.iterdir()):
        if not (out / ".cvserve-demo").is_file():
            raise CvserveError(f"{out} holds something else than an earlier demo; give another --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / ".cvserve-demo").touch()
    return out


def _generate(out: Path, seed: int) -> Path:
    for split, count in _PICTURES.items():
        write_image_folder(Scenes(count=count, seed=seed, split=split), out / "pictures")
    return out / "pictures"


def _ask_server(out: Path, tests: list[Path]) -> dict[str, Any]:
    """Starts `cvserve serve` as a process, asks it about every test picture, and ends it as an orchestrator would."""
    with running_server(out / "models", _MODEL, out / "server.log") as client:
        labels = client.model_info(_MODEL).labels
        client.classify(_MODEL, tests[0])
        start = time.perf_counter()
        results = list(client.classify_many(_MODEL, tests, top_k=len(labels)))
        seconds = time.perf_counter() - start
    return {"scores": [_by_index(result.classes) for result in results], "images_per_second": len(tests) / seconds}


def _by_index(classes: Any) -> np.ndarray:
    """Scores in index order."""
    return np.array([item.score for item in sorted(classes, key=lambda item: item.index)])


def _predict_folder(out: Path, artifact: Artifact, folder: Path) -> list[dict[str, Any]]:
    labels = artifact.manifest.labels
    with open_instances(artifact.directory) as pipelines, open_sink(out / "results.jsonl") as sink:
        predict(pipelines, Sources([folder]), sink, annotate=out / "annotated", top_k=len(labels))
    return [json.loads(line) for line in (out / "results.jsonl").read_text(encoding="utf-8").splitlines()]


def _compare(
    run: Run, artifact: Artifact, tests: list[Path], served: list[np.ndarray], rows: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Every place's probabilities for the same pictures against Keras's."""
    pixels = np.stack([preprocess(path, run.preproc)[0] for path in tests])
    truth = run.load_model()(pixels, training=False)["probabilities"].numpy()
    names = {row["image"]: row for row in rows}
    answers = {
        "server (gRPC)": np.stack(served),
        "cvserve predict": np.stack(
            [
                _by_index(
                    [_Score(**item) for item in names[path.relative_to(tests[0].parents[1]).as_posix()]["classes"]]
                )
                for path in tests
            ]
        ),
    }
    for runtime in usable_runtimes(read(artifact.directory).manifest):
        with Pipeline.load(artifact.directory, runtime=runtime) as pipeline:
            results = pipeline(tests, top_k=len(run.labels))
        rows_of = [result.classes for result in results if isinstance(result, ClassificationResult)]
        answers[f"pipeline, {runtime}"] = np.stack([_by_index(classes) for classes in rows_of])
    return [
        {
            "where": where,
            "images": len(tests),
            "max_abs_difference": float(np.abs(scores - truth).max()),
            "same_class": bool((scores.argmax(axis=1) == truth.argmax(axis=1)).all()),
        }
        for where, scores in answers.items()
    ]


@dataclass
class _Score:
    label: str
    index: int
    score: float


def _show(summary: dict[str, Any]) -> None:
    console.table(
        [[row["step"], f"{row['seconds']:.1f}", row["outcome"]] for row in summary["steps"]],
        ["step", "seconds", "outcome"],
    )
    console.table(
        [
            [row["where"], str(row["images"]), f"{row['max_abs_difference']:.1e}", "yes" if row["same_class"] else "NO"]
            for row in summary["answers"]
        ],
        ["answers compared with Keras", "pictures", "max difference", "same class"],
    )
