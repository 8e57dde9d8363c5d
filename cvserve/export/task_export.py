"""Defines what the export of a model does differently for each task, and the table of the tasks.

A task is known here when `cvserve.export.tasks` has a module of its name with an `EXPORT`, or when one has been
registered: `TASK_EXPORTS.register("depth", DepthExport())`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cvserve.artifact import Decoding, Manifest, OutputSpec, Parity, PostprocSpec, PreprocSpec, default_postproc
from cvserve.export.comparison.base import Comparison
from cvserve.tasks import TaskTable

if TYPE_CHECKING:
    import keras

    from cvserve.export.network import Network
    from cvserve.export.parity import ParityImages
    from cvserve.export.writing import WrittenGraph
    from cvserve.preproc import Geometry
    from cvserve.runtimes import Runtime


class TaskExport:
    """Is the base of a task's part of the export. A subclass sets `task` and overrides what it needs.

    task: the task's name. takes_decoding: whether `export_model` takes a `Decoding` for its networks.
    """

    task: str
    takes_decoding = False

    def prepare(
        self, model: keras.Model, postproc: PostprocSpec | None, decoding: Decoding | None
    ) -> tuple[keras.Model, PostprocSpec | None]:
        """Returns the model as it is to be exported, and its postproc.

        Args:
            decoding: only for a task that `takes_decoding`.
        """
        return model, postproc

    def check_outputs(
        self,
        outputs: Sequence[OutputSpec],
        answers: Mapping[str, np.ndarray],
        labels: Sequence[str],
        postproc: PostprocSpec | None,
    ) -> None:
        """Checks that a network is one of this task, with these labels.

        Args:
            answers: the network's outputs [N, ...] by name.

        Raises:
            InvalidInput: it is not.
        """

    def default_postproc(self, outputs: Sequence[OutputSpec]) -> PostprocSpec:
        """Returns the postproc of a network for which none is given."""
        return default_postproc(self.task)

    def dataset_postproc(self, dataset: Any) -> PostprocSpec | None:
        """Returns the postproc that follows from a run's dataset, for a run that has none; None where none follows."""
        return None

    def ground_truth(self, dataset: Any, index: int, geometry: Geometry, preproc: PreprocSpec) -> Any:
        """Returns the ground truth of an image in the pixels of the graph's input; None where comparisons use none."""
        return None

    def comparison(
        self, manifest: Manifest, tolerance: float, *, ground_truth: Sequence[Any] | None = None, ties: bool = False
    ) -> Comparison:
        """Returns how a graph is compared with the network.

        Args:
            tolerance: the largest difference that is allowed, see `ExportTarget.tolerance`.
            ground_truth: of each image, as `ground_truth` returns it.
            ties: whether the last digit decides inside of the network, see `Network.ties`.
        """
        raise NotImplementedError

    def encoded_comparison(self, manifest: Manifest, *, ties: bool = False) -> Comparison:
        """Returns how the signature of encoded images is compared.

        Its pixels differ by a rounding at most, which a network hardly amplifies; beyond these limits something is
        wrong.
        """
        raise NotImplementedError

    def extra_signatures(self, network: Network, manifest: Manifest, *, detect: bool, steps: bool) -> dict[str, Any]:
        """Returns the tf.functions of the extra signatures that each graph gets, by name.

        Args:
            detect: a detector gets the signature `detect`.
            steps: a captioning network gets its encoder and its step.
        """
        return {}

    def check_signatures(
        self, graph: WrittenGraph, runtime: Runtime, directory: Path, images: ParityImages, comparison: Comparison
    ) -> dict[str, Any]:
        """Compares the extra signatures of a written graph with the network.

        Args:
            runtime: what `graph.open` returned.
            directory: of the artifact.
            comparison: of the graph itself.

        Returns:
            Their fields of `cvserve.artifact.Graph`.

        Raises:
            ExportError: one of them does not run or answers differently.
        """
        return {}

    def report_columns(self, manifest: Manifest) -> tuple[str, ...]:
        """Returns the titles of the task's own columns in the report."""
        return ()

    def report_figures(self, parity: Parity, manifest: Manifest) -> list[Any]:
        """Returns what stands in these columns; None where a figure is not known."""
        return []


def fraction(value: float | None) -> str | None:
    """Returns a value from 0 to 1 as the report shows it, with five digits: "0.99973"."""
    return None if value is None else f"{value:.5f}"


def small(value: float | None) -> str | None:
    """Returns a small difference as the report shows it, by its order of magnitude: "3.1e-06"."""
    return None if value is None else f"{value:.1e}"


TASK_EXPORTS: TaskTable[TaskExport] = TaskTable("cvserve.export.tasks", "EXPORT", what="export")
