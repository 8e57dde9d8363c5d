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
from cvserve.data import Dataset, open_dataset
from cvserve.errors import ImageError, InvalidInput
from cvserve.evaluation.classification import ClassificationReport, classification_report
from cvserve.evaluation.plots import draw_confusion
from cvserve.evaluation.scorers import Scorer, open_scorer
from cvserve.parallel import ordered_map
from cvserve.preproc import preprocess
from cvserve.runs import write_json


@dataclass(frozen=True)
class Evaluation:
    """Scores of `target` on a split. failed: (picture, reason) of those that could not be read and were left out."""

    target: str
    data: str
    split: str
    report: ClassificationReport
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
        """Writes evaluation.json and confusion.png into `directory`, made if missing."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        write_json(directory / "evaluation.json", self.to_dict())
        names = [item.label for item in self.report.classes]
        draw_confusion(self.report.confusion, names, directory / "confusion.png")


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
    out: str | Path | None = None,
) -> Evaluation:
    """Scores a classifier.

    Args:
        target: a run directory, or an artifact (a model's directory or a version's).
        data: the dataset; None takes the one that the run was trained on.
        split: "train", "val" or "test".
        runtime: of an artifact: "auto", "tensorflow", "onnx" or "litert".
        batch_size: pictures a call. workers: threads that decode.
        out: directory for evaluation.json and confusion.png; None writes nothing.

    Raises:
        NotFound, ArtifactError, InvalidInput, MissingExtra
    """
    with closing(open_scorer(target, runtime=runtime, threads=threads, precision=precision)) as scorer:
        data = data or scorer.data
        if data is None:
            raise InvalidInput(f"{target} is an artifact, which does not know its dataset: say --data")
        dataset = open_dataset(data, split, classes=scorer.labels)
        result = _score(scorer, dataset, data, split, batch_size, workers)
    if out is not None:
        result.write(out)
    return result


def _score(scorer: Scorer, dataset: Dataset, data: str, split: str, batch_size: int, workers: int) -> Evaluation:
    failed: list[tuple[str, str]] = []
    labels: list[int] = []
    answers: list[np.ndarray] = []

    def pixels_of(index: int) -> tuple[int, np.ndarray | ImageError]:
        try:
            return index, preprocess(dataset.image(index), scorer.preproc, name=dataset.name(index))[0]
        except ImageError as error:
            return index, error

    def readable() -> Iterator[tuple[int, np.ndarray]]:
        for index, pixels in ordered_map(pixels_of, range(len(dataset)), workers=workers, ahead=2 * batch_size):
            if isinstance(pixels, ImageError):
                failed.append((pixels.source, pixels.reason))
            else:
                yield index, pixels

    with Progress(len(dataset), description=f"scoring {scorer.description}", unit="images") as progress:
        for batch in _batches(readable(), batch_size):
            answers.append(scorer.predict(np.stack([pixels for _, pixels in batch])))
            labels += [dataset.label(index) for index, _ in batch]
            progress.advance(len(batch))
    if not answers:
        raise InvalidInput(f"no picture of {data} ({split}) could be read: {'; '.join(map(': '.join, failed[:3]))}")
    report = classification_report(np.concatenate(answers), np.array(labels), scorer.labels)
    return Evaluation(scorer.description, data, split, report, failed)


def _batches(items: Iterator[tuple[int, np.ndarray]], size: int) -> Iterator[list[tuple[int, np.ndarray]]]:
    while batch := list(islice(items, size)):
        yield batch
