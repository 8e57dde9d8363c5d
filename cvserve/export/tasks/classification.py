"""Exports classifiers: probabilities of the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cvserve.artifact import ClassificationPostproc, Manifest, OutputSpec, PostprocSpec
from cvserve.errors import InvalidInput
from cvserve.export.comparison.base import Comparison
from cvserve.export.comparison.classification import ClassComparison
from cvserve.export.task_export import TaskExport

_ENCODED_LIMIT = 0.05


class ClassificationExport(TaskExport):
    """Exports classifiers."""

    task = "classification"

    def check_outputs(
        self,
        outputs: Sequence[OutputSpec],
        answers: Mapping[str, np.ndarray],
        labels: Sequence[str],
        postproc: PostprocSpec | None,
    ) -> None:
        """Checks that an output holds a score for each label."""
        scores = [output for output in outputs if output.role in ("probabilities", "logits")]
        for output in scores:
            if output.shape != (len(labels),):
                raise InvalidInput(
                    f"{len(labels)} labels do not fit output {output.name!r}, which is {list(output.shape)} an image"
                )
        if not scores:
            raise InvalidInput(
                "the network has no output called probabilities or logits, only "
                f"{', '.join(output.name for output in outputs)}; give the role of each"
            )

    def default_postproc(self, outputs: Sequence[OutputSpec]) -> PostprocSpec:
        """Returns a postproc with a softmax, unless the network has one itself."""
        has_probabilities = any(output.role == "probabilities" for output in outputs)
        return ClassificationPostproc(activation="none" if has_probabilities else "softmax")

    def comparison(
        self, manifest: Manifest, tolerance: float, *, ground_truth: Sequence[Any] | None = None, ties: bool = False
    ) -> Comparison:
        """Compares the probabilities."""
        return ClassComparison(manifest, tolerance)

    def encoded_comparison(self, manifest: Manifest, *, ties: bool = False) -> Comparison:
        """Compares the probabilities, which a rounding may move a little."""
        return ClassComparison(manifest, _ENCODED_LIMIT)


EXPORT = ClassificationExport()
