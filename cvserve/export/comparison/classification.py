"""Compares two classifiers' answers: the probabilities, and the best class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cvserve.artifact import Manifest
from cvserve.export.comparison.base import Compared, Outputs
from cvserve.postproc import class_scores


@dataclass(frozen=True)
class ClassComparison:
    """Compares probabilities; an image agrees whose best class is the same. limit: of a probability's difference."""

    manifest: Manifest
    limit: float
    what: str = "a probability"

    def compare(self, got: Outputs, wanted: Outputs) -> Compared:
        """Compares the probabilities, see `Comparison.compare`."""
        from_graph, from_network = class_scores(got, self.manifest), class_scores(wanted, self.manifest)
        same = np.asarray(from_graph.argmax(axis=1) == from_network.argmax(axis=1))
        return Compared(np.abs(from_graph - from_network).max(axis=1), same)

    def figures(self, parts: Sequence[Compared]) -> dict[str, Any]:
        """Returns nothing: classification has no figures of its own."""
        return {}
