"""How each task's answers are scored: the one place where `evaluate` asks for the task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cvserve.artifact import Task
from cvserve.evaluation.metrics.captioning import CaptionMetric
from cvserve.evaluation.metrics.classification import ClassificationMetric
from cvserve.evaluation.metrics.detection import DetectionMetric
from cvserve.evaluation.metrics.segmentation import SegmentationMetric
from cvserve.postproc import Contract
from cvserve.preproc import Geometry

__all__ = [
    "CaptionMetric",
    "ClassificationMetric",
    "DetectionMetric",
    "Metric",
    "Report",
    "SegmentationMetric",
    "open_metric",
]


class Report(Protocol):
    """A task's scores."""

    @property
    def images(self) -> int:
        """How many images were scored."""

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""

    def table(self) -> tuple[list[tuple[Any, ...]], tuple[str, ...]]:
        """Rows and column names for people."""

    def headline(self) -> str:
        """The scores in one line."""


class Metric(Protocol):
    """Takes a network's outputs for the images of one split, batch by batch, and scores them in the end."""

    def ground_truth(self, index: int) -> Any:
        """What the data set says of an image; called by several threads, ahead of `add`.

        Raises:
            ImageError: it cannot be read; the image is left out.
        """

    def add(
        self,
        indices: Sequence[int],
        outputs: Mapping[str, np.ndarray],
        geometries: Sequence[Geometry],
        ground_truths: Sequence[Any],
    ) -> None:
        """One batch.

        Args:
            indices: of the images in the data set.
            outputs: of the graph, by name, batch first.
            geometries: how each of the images was resized.
            truths: what `ground_truth` said of each.
        """

    def report(self) -> Report:
        """The scores of all that was added; asked once, at the end."""

    def write(self, directory: Path) -> None:
        """Writes the task's own files into the directory, after `report`."""


_JUDGES: dict[Task, Callable[[Contract, Any], Metric]] = {
    "captioning": CaptionMetric,
    "classification": ClassificationMetric,
    "detection": DetectionMetric,
    "segmentation": SegmentationMetric,
}


def open_metric(contract: Contract, dataset: Any) -> Metric:
    """The judge of the contract's task.

    Args:
        dataset: a split opened for that task.
    """
    return _JUDGES[contract.task](contract, dataset)
