"""Scores a run directory, or an exported model through any runtime, on a split of a data set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from cvserve.console import Progress
from cvserve.data import open_dataset
from cvserve.data.source import Source
from cvserve.errors import ImageError, InvalidInput
from cvserve.evaluation.metrics import METRICS
from cvserve.evaluation.predictors import Predictor, open_predictor
from cvserve.parallel import ordered_map
from cvserve.postproc import Contract
from cvserve.preproc import Geometry, preprocess
from cvserve.runs import write_json


@dataclass(frozen=True)
class Evaluation:
    """Holds the scores of a model on a split.

    target: the model, in words. data, split: what it was scored on. report: the scores, of the type that the task's
    metric computes, such as `ClassificationReport`. failed: (image, reason) of the images that could not be read and
    were left out. dataset: the opened split. contract: of the model.
    """

    target: str
    data: str
    split: str
    report: Any
    failed: list[tuple[str, str]]
    dataset: Any = field(repr=False)
    contract: Contract = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Returns everything ready for JSON."""
        return {
            "target": self.target,
            "data": self.data,
            "split": self.split,
            **self.report.to_dict(),
            "failed": [{"image": name, "error": reason} for name, reason in self.failed],
        }

    def write(self, directory: str | Path) -> None:
        """Writes evaluation.json and the files of the report's `write` into a directory, which is made if missing."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        write_json(directory / "evaluation.json", self.to_dict())
        self.report.write(directory, self.dataset, self.contract)


def evaluate(
    target: str | Path,
    data: str | None = None,
    *,
    split: str = "val",
    runtime: str = "auto",
    precision: str | None = None,
    threads: int | None = None,
    batch_size: int = 32,
    workers: int = 2,
    average: str | None = None,
    device: str = "cpu",
    out: str | Path | None = None,
) -> Evaluation:
    """Scores a model with the metric of its task.

    Args:
        target: a run directory, or an artifact (a model's directory or a version's).
        data: the data set; None takes the one that the run was trained on.
        split: "train", "val" or "test".
        runtime: of an artifact: "auto", "tensorflow", "onnx" or "litert".
        batch_size: images a call. workers: threads that decode images.
        average, device: see `open_predictor`.
        out: directory for evaluation.json and the task's plots and files; None writes nothing.

    Raises:
        NotFound, ArtifactError, InvalidInput, MissingExtra, FailedPrecondition

    Example:
        report = evaluate("runs/flowers", split="test").report
        print(report.headline())
    """
    how: dict[str, Any] = {"runtime": runtime, "threads": threads, "precision": precision, "device": device}
    with closing(open_predictor(target, average=average, **how)) as predictor:
        data = data or predictor.data
        if data is None:
            raise InvalidInput(f"{target} is an artifact, which does not name its data set: add --data")
        contract = predictor.contract
        dataset = open_dataset(data, split, task=contract.task, classes=contract.labels)
        result = _score(predictor, dataset, data, split, batch_size, workers)
    if out is not None:
        result.write(out)
    return result


_Example = tuple[int, np.ndarray, Geometry, Any]
"""A loaded image: its index, the pixels of the network's input, how they were resized, and the ground truth."""


def _score(predictor: Predictor, dataset: Source, data: str, split: str, batch_size: int, workers: int) -> Evaluation:
    contract = predictor.contract
    task = METRICS[contract.task]
    metric = task.create(contract, dataset)
    failed: list[tuple[str, str]] = []

    def prepared(index: int) -> _Example | ImageError:
        try:
            ground_truth = task.ground_truth(dataset, index, contract)
            pixels, geometry = preprocess(dataset.image(index), contract.preproc, name=dataset.name(index))
        except ImageError as error:
            return error
        return index, pixels, geometry, ground_truth

    def readable() -> Iterator[_Example]:
        for example in ordered_map(prepared, range(len(dataset)), workers=workers, ahead=2 * batch_size):
            if isinstance(example, ImageError):
                failed.append((example.source, example.reason))
            else:
                yield example

    with Progress(len(dataset), description=f"scoring {predictor.description}", unit="images") as progress:
        for batch in _batches(readable(), batch_size):
            indices, pixels, geometries, ground_truths = zip(*batch, strict=True)
            outputs = predictor.predict(np.stack(pixels))
            metric.update(task.predictions(outputs, geometries, contract), ground_truths, indices)
            progress.advance(len(batch))
    if len(failed) == len(dataset):
        raise InvalidInput(f"no image of {data} ({split}) could be read: {'; '.join(map(': '.join, failed[:3]))}")
    return Evaluation(predictor.description, data, split, metric.compute(), failed, dataset, contract)


def _batches(examples: Iterator[_Example], size: int) -> Iterator[list[_Example]]:
    while batch := list(islice(examples, size)):
        yield batch
