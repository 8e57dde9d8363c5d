"""Scores a run directory or an artifact on a split of a dataset: the same code for both, through any runtime."""

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
from cvserve.evaluation.metrics import Metric, open_metric
from cvserve.evaluation.predictors import Predictor, open_predictor
from cvserve.parallel import ordered_map
from cvserve.preproc import Geometry, preprocess
from cvserve.runs import write_json


@dataclass(frozen=True)
class Evaluation:
    """Scores of `target` on a split. failed: (image, reason) of those that could not be read and were left out.

    report: of the model's task: a `ClassificationReport`, a `DetectionReport` or a `SegmentationReport`. judge: what it
    comes from.
    """

    target: str
    data: str
    split: str
    report: Any
    metric: Metric = field(repr=False)
    failed: list[tuple[str, str]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return {
            "target": self.target,
            "data": self.data,
            "split": self.split,
            **self.report.to_dict(),
            "failed": [{"image": name, "error": reason} for name, reason in self.failed],
        }

    def write(self, directory: str | Path) -> None:
        """Writes evaluation.json and the task's own files into `directory`, made if missing: see its judge."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        write_json(directory / "evaluation.json", self.to_dict())
        self.metric.write(directory)


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
    """Scores a model by the measures of its task.

    Args:
        target: a run directory, or an artifact (a model's directory or a version's).
        data: the dataset; None takes the one that the run was trained on.
        split: "train", "val" or "test".
        runtime: of an artifact: "auto", "tensorflow", "onnx" or "litert".
        batch_size: images a call. workers: threads that decode.
        average, device: see `open_predictor`.
        out: directory for evaluation.json and the task's images and files; None writes nothing.

    Raises:
        NotFound, ArtifactError, InvalidInput, MissingExtra, FailedPrecondition
    """
    how: dict[str, Any] = {"runtime": runtime, "threads": threads, "precision": precision, "device": device}
    with closing(open_predictor(target, average=average, **how)) as predictor:
        data = data or predictor.data
        if data is None:
            raise InvalidInput(f"{target} is an artifact, which does not know its dataset: say --data")
        contract = predictor.contract
        dataset = open_dataset(data, split, task=contract.task, classes=contract.labels)
        result = _score(predictor, open_metric(contract, dataset), dataset, data, split, batch_size, workers)
    if out is not None:
        result.write(out)
    return result


_Image = tuple[int, np.ndarray, Geometry, Any]
"""Index, pixels of the network's input, and what is true of it."""


def _score(
    predictor: Predictor, metric: Metric, dataset: Source, data: str, split: str, batch_size: int, workers: int
) -> Evaluation:
    failed: list[tuple[str, str]] = []
    scored = False

    def prepared(index: int) -> _Image | ImageError:
        try:
            ground_truth = metric.ground_truth(index)
            return (
                index,
                *preprocess(dataset.image(index), predictor.contract.preproc, name=dataset.name(index)),
                ground_truth,
            )
        except ImageError as error:
            return error

    def readable() -> Iterator[_Image]:
        for image in ordered_map(prepared, range(len(dataset)), workers=workers, ahead=2 * batch_size):
            if isinstance(image, ImageError):
                failed.append((image.source, image.reason))
            else:
                yield image

    with Progress(len(dataset), description=f"scoring {predictor.description}", unit="images") as progress:
        for batch in _batches(readable(), batch_size):
            indices, pixels, geometries, ground_truths = zip(*batch, strict=True)
            metric.add(indices, predictor.predict(np.stack(pixels)), geometries, ground_truths)
            scored = True
            progress.advance(len(batch))
    if not scored:
        raise InvalidInput(f"no image of {data} ({split}) could be read: {'; '.join(map(': '.join, failed[:3]))}")
    return Evaluation(predictor.description, data, split, metric.report(), metric, failed)


def _batches(items: Iterator[_Image], size: int) -> Iterator[list[_Image]]:
    while batch := list(islice(items, size)):
        yield batch
