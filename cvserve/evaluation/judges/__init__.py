"""How each task's answers are scored: the one place where `evaluate` asks for the task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cvserve.artifact import Task
from cvserve.evaluation.judges.captioning import CaptionJudge
from cvserve.evaluation.judges.classification import ClassificationJudge
from cvserve.evaluation.judges.detection import DetectionJudge
from cvserve.evaluation.judges.segmentation import SegmentationJudge
from cvserve.postproc import Contract
from cvserve.preproc import Geometry

__all__ = [
    "CaptionJudge",
    "ClassificationJudge",
    "DetectionJudge",
    "Judge",
    "Report",
    "SegmentationJudge",
    "open_judge",
]


class Report(Protocol):
    """A task's scores."""

    @property
    def images(self) -> int:
        """How many pictures were scored."""

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""

    def table(self) -> tuple[list[tuple[Any, ...]], tuple[str, ...]]:
        """Rows and column names for people."""

    def headline(self) -> str:
        """The scores in one line."""


class Judge(Protocol):
    """Takes a network's outputs for the pictures of one split, batch by batch, and scores them in the end."""

    def truth(self, index: int) -> Any:
        """What the data set says of a picture; called by several threads, ahead of `add`.

        Raises:
            ImageError: it cannot be read; the picture is left out.
        """

    def add(
        self,
        indices: Sequence[int],
        outputs: Mapping[str, np.ndarray],
        geometries: Sequence[Geometry],
        truths: Sequence[Any],
    ) -> None:
        """One batch.

        Args:
            indices: of the pictures in the data set.
            outputs: of the graph, by name, batch first.
            geometries: how each of the pictures was resized.
            truths: what `truth` said of each.
        """

    def report(self) -> Report:
        """The scores of all that was added; asked once, at the end."""

    def write(self, directory: Path) -> None:
        """Writes the task's own files into the directory, after `report`."""


_JUDGES: dict[Task, Callable[[Contract, Any], Judge]] = {
    "captioning": CaptionJudge,
    "classification": ClassificationJudge,
    "detection": DetectionJudge,
    "segmentation": SegmentationJudge,
}


def open_judge(contract: Contract, dataset: Any) -> Judge:
    """The judge of the contract's task.

    Args:
        dataset: a split opened for that task.
    """
    return _JUDGES[contract.task](contract, dataset)
