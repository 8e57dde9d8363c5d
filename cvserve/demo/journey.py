"""Runs the demo step by step, for each task in turn; every step is a call that a user would make."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from cvserve import console
from cvserve.artifact import Artifact, read
from cvserve.batch import Sources, open_instances, open_sink, predict
from cvserve.client import Client
from cvserve.data import Scenes
from cvserve.demo.overview import draw_overview
from cvserve.demo.server import running_server
from cvserve.demo.task import DemoTask, demo_tasks
from cvserve.errors import CvserveError
from cvserve.evaluation import evaluate
from cvserve.evaluation.predictors import open_predictor
from cvserve.export import export_run
from cvserve.pipeline import Pipeline
from cvserve.postproc import Options, Result, decode_outputs
from cvserve.preproc import preprocess
from cvserve.runs import MODEL_FILE, Run, write_json
from cvserve.runtimes import usable_runtimes
from cvserve.training import TrainConfig, train

Value = TypeVar("Value")

_SHOWN = 12
"""The number of images of each task in the overview."""


@dataclass
class _Log:
    """Records the steps: name, seconds, outcome."""

    rows: list[tuple[str, float, str]] = field(default_factory=list)

    def step(self, name: str, work: Callable[[], Value], outcome: Callable[[Value], str]) -> Value:
        console.say(f"--- {name}")
        start = time.perf_counter()
        value = work()
        seconds, text = time.perf_counter() - start, outcome(value)
        self.rows.append((name, seconds, text))
        console.say(f"    {seconds:.1f} s: {text}")
        return value


@dataclass(frozen=True)
class _Built:
    """Holds a task's model after training, export and evaluation. folder: of all the task's files."""

    task: DemoTask
    folder: Path
    run: Run
    artifact: Artifact
    score: tuple[str, float]

    @property
    def test_folder(self) -> Path:
        return self.folder / "images" / "test" / self.task.inside

    @cached_property
    def tests(self) -> tuple[Path, ...]:
        """Returns the paths of the test images."""
        return tuple(sorted(self.test_folder.rglob("*.jpg")))

    @property
    def options(self) -> Mapping[str, Any]:
        return self.task.options(self.run.labels)


def run_demo(out: str | Path, *, seed: int = 1, tasks: Sequence[DemoTask] | None = None) -> dict[str, Any]:
    """Runs the demo in the folder `out` (emptied first if a demo made it) and returns the content of summary.json.

    Args:
        seed: of images and training.
        tasks: to run; None takes all of them.

    Raises:
        CvserveError: `out` holds something else than an earlier demo, or results differ.
    """
    out = _fresh(Path(out))
    log = _Log()
    built: list[_Built] = []
    for task in demo_tasks() if tasks is None else tasks:
        built.append(_build(task, out, seed, log, _start(task, built)))
    served = log.step(
        "serve and ask", lambda: _ask_server(out, built), lambda _: f"{len(built)} models, one server, over gRPC"
    )
    summaries = [_use(item, *answers, log) for item, answers in zip(built, served, strict=True)]
    _draw(out, built)
    by_task = {item.task.task: part for item, part in zip(built, summaries, strict=True)}
    summary = {
        "seconds": round(sum(seconds for _, seconds, _ in log.rows), 1),
        "steps": [{"step": name, "seconds": round(seconds, 1), "outcome": text} for name, seconds, text in log.rows],
        "tasks": by_task,
    }
    write_json(out / "summary.json", summary)
    _show(summary)
    different = [
        f"{task}: {row['where']}" for task, part in by_task.items() for row in part["answers"] if not row["same"]
    ]
    if different:
        raise CvserveError(f"the answers differ from Keras in {', '.join(different)}; see {out / 'summary.json'}")
    return summary


def _fresh(out: Path) -> Path:
    if out.exists() and any(out.iterdir()):
        if not (out / ".cvserve-demo").is_file():
            raise CvserveError(f"{out} holds something else than an earlier demo; give another --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / ".cvserve-demo").touch()
    return out


def _start(task: DemoTask, built: Sequence[_Built]) -> Path | None:
    """Returns the network that a task starts from, or None."""
    return next((item.run.directory / MODEL_FILE for item in built if item.task.task == task.starts_from), None)


def _build(task: DemoTask, out: Path, seed: int, log: _Log, start: Path | None) -> _Built:
    folder = out / task.task
    images = log.step(
        f"{task.task}: generate images",
        lambda: _generate(task, folder / "images", seed),
        lambda _: f"{sum(task.images.values())} JPEG",
    )
    settings = {"task": task.task, "data": str(images), "seed": seed, **task.training}
    if start is not None:
        settings["weights"] = str(start)
    config = TrainConfig.load(None, settings)
    run = log.step(
        f"{task.task}: train",
        lambda: train(config, folder / "run"),
        lambda run: ", ".join(f"val {name} {value:.3f}" for name, value in run.metrics.items() if name != "epoch"),
    )
    artifact = log.step(
        f"{task.task}: export and compare",
        lambda: export_run(run.directory, out / "models" / task.model),
        lambda made: ", ".join(graph.format for graph in made.manifest.graphs),
    )
    score = log.step(
        f"{task.task}: score on test",
        lambda: task.score(evaluate(artifact.directory, str(images), split="test", out=folder / "evaluation").report),
        lambda score: f"test {score[0]} {score[1]:.3f}",
    )
    return _Built(task, folder, run, artifact, score)


def _generate(task: DemoTask, folder: Path, seed: int) -> Path:
    for split, count in task.images.items():
        task.write(Scenes(count=count, seed=seed, task=task.task, split=split), folder)
    return folder


_Served = tuple[list[Result], float]
"""The results for a task's test images, and images per second."""


def _ask_server(out: Path, built: Sequence[_Built]) -> list[_Served]:
    """Starts `cvserve serve` as a process, sends it every test image, and ends it with SIGTERM."""
    with running_server(out / "models", [item.task.model for item in built], out / "server.log") as client:
        return [_ask_about(client, item) for item in built]


def _ask_about(client: Client, item: _Built) -> _Served:
    ask, model = item.task.ask, item.task.model
    ask(client, model, item.tests[:1], item.options)
    start = time.perf_counter()
    results = ask(client, model, item.tests, item.options)
    return results, len(item.tests) / (time.perf_counter() - start)


def _use(item: _Built, served: list[Result], per_second: float, log: _Log) -> dict[str, Any]:
    """Predicts the folder and compares all results; returns the task's part of the summary."""
    name = item.task.task
    rows = log.step(
        f"{name}: predict a folder",
        lambda: _predict_folder(item),
        lambda rows: f"{len(rows)} rows, {len(item.tests)} annotated images",
    )
    answers = log.step(
        f"{name}: compare all answers",
        lambda: _compare(item, served, rows),
        lambda table: f"largest difference {max(row['max_abs_difference'] for row in table):.1e}",
    )
    return {
        "score": {"name": item.score[0], "split": "test", "value": item.score[1]},
        "graphs": [
            {
                "format": graph.format,
                "bytes": graph.bytes,
                **(graph.parity.model_dump(exclude_none=True, exclude={"task"}) if graph.parity else {}),
            }
            for graph in item.artifact.manifest.graphs
        ],
        "answers": answers,
        "served_images_per_second": round(per_second, 1),
    }


def _predict_folder(item: _Built) -> list[dict[str, Any]]:
    path = item.folder / "results.jsonl"
    with open_instances(item.artifact.directory) as pipelines, open_sink(path) as sink:
        predict(pipelines, Sources([item.test_folder]), sink, annotate=item.folder / "annotated", **item.options)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _compare(item: _Built, served: list[Result], rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Compares the results of server, batch and pipelines for the same images with those of Keras."""
    expected = _of_keras(item)
    by_name = {row["image"]: row for row in rows}
    names = [path.relative_to(item.test_folder).as_posix() for path in item.tests]
    answers: dict[str, Sequence[Result]] = {
        "server (gRPC)": served,
        "cvserve predict": [item.task.from_row(by_name[name], item.run.labels) for name in names],
    }
    for runtime in usable_runtimes(read(item.artifact.directory).manifest):
        with Pipeline.load(item.artifact.directory, runtime=runtime) as pipeline:
            answers[f"pipeline, {runtime}"] = pipeline(list(item.tests), **item.options)
    table = []
    for where, results in answers.items():
        difference = item.task.compare(results, expected)
        table.append(
            {
                "where": where,
                "images": len(item.tests),
                "max_abs_difference": difference.largest,
                "same": difference.same,
            }
        )
    return table


def _of_keras(item: _Built) -> list[Result]:
    predictor = open_predictor(item.run.directory)
    prepared = [preprocess(path, item.run.preproc) for path in item.tests]
    outputs = predictor.predict(np.stack([pixels for pixels, _ in prepared]))
    return decode_outputs(outputs, [geometry for _, geometry in prepared], predictor.contract, Options(**item.options))


def _draw(out: Path, built: Sequence[_Built]) -> None:
    shown: list[Path] = []
    for item in built:
        annotated = sorted((item.folder / "annotated").rglob("*.jpg"))
        shown += annotated[:: max(len(annotated) // _SHOWN, 1)][:_SHOWN]
    draw_overview(shown, out / "overview.png")


def _show(summary: dict[str, Any]) -> None:
    console.table(
        [[row["step"], f"{row['seconds']:.1f}", row["outcome"]] for row in summary["steps"]],
        ["step", "seconds", "outcome"],
    )
    console.table(
        [
            [
                task,
                row["where"],
                str(row["images"]),
                f"{row['max_abs_difference']:.1e}",
                "yes" if row["same"] else "NO",
            ]
            for task, part in summary["tasks"].items()
            for row in part["answers"]
        ],
        ["task", "answers compared with Keras", "images", "max difference", "same"],
    )
