"""Defines the interface of every task's metric and report, and what `evaluate` needs to know of a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cvserve.postproc import Contract
from cvserve.preproc import Geometry
from cvserve.runs import Run

if TYPE_CHECKING:
    import keras

Predict = Callable[[np.ndarray], dict[str, np.ndarray]]
"""Takes images as `preproc` prepares them, uint8 RGB [B, height, width, 3], and returns a graph's outputs by name."""

Indices = Sequence[int] | np.ndarray
"""The places of images in a data set."""


class Report(Protocol):
    """Holds the scores of a task, computed by its metric."""

    @property
    def images(self) -> int:
        """Returns how many images were scored."""

    def to_dict(self) -> dict[str, Any]:
        """Returns the scores ready for JSON."""

    def table(self) -> tuple[list[tuple[Any, ...]], tuple[str, ...]]:
        """Returns rows and column names to print."""

    def headline(self) -> str:
        """Returns the scores in one line."""

    def write(self, directory: Path, dataset: Any, contract: Contract) -> None:
        """Writes the task's own files (plots, COCO files) into an existing directory.

        Args:
            dataset: the split that was scored, for the names and pixels of its images.
            contract: of the model that was scored.
        """


class Metric(Protocol):
    """Collects predictions and ground truths in parts, and computes the scores of all of them.

    Training uses it to validate an epoch, `evaluate` to score a model.
    """

    def update(self, predictions: Any, ground_truths: Any, indices: Indices | None = None) -> None:
        """Adds some images.

        Args:
            predictions: one for each image, in the form that the task's metric documents.
            ground_truths: one for each image, in the same order.
            indices: the places of these images in the data set; None numbers them in the order in which they come.
                Neither the order of the images nor their division into parts changes the scores.
        """

    def compute(self) -> Report:
        """Returns the scores of all images so far. It changes nothing: more images can follow.

        Raises:
            InvalidInput: there are no images, or predictions and ground truths that do not fit.
        """


@dataclass(frozen=True)
class TaskMetric:
    """Defines how `evaluate` scores a task; each module of `cvserve.evaluation.metrics` has one, named METRIC.

    create: makes an empty metric for a model and a split of a data set.
    predictions: turns a graph's outputs (by name, batch first) into what `Metric.update` takes.
    ground_truth: reads what `Metric.update` takes for one image of the data set. Called by several threads.
        Raises ImageError where it cannot be read: the image is left out.
    averaged: opens a run's network so that it predicts from the mean over several views of an image; takes the run, the
        network and the views as text, and returns how the views are called and the function that predicts. None where
        the task has no such thing.
    """

    create: Callable[[Contract, Any], Metric]
    predictions: Callable[[Mapping[str, np.ndarray], Sequence[Geometry], Contract], Any]
    ground_truth: Callable[[Any, int, Contract], Any]
    averaged: Callable[[Run, keras.Model, str], tuple[str, Predict]] | None = None


def numbered(indices: Indices | None, first: int, count: int) -> list[int]:
    """Returns the indices that were given, or `count` of them from `first` on.

    Example:
        >>> numbered(None, 2, 3)
        [2, 3, 4]
    """
    return list(range(first, first + count)) if indices is None else [int(index) for index in indices]
