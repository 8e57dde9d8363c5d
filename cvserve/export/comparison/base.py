"""Defines the interface of every task's comparison of a graph's answers with the network's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from cvserve.artifact import Manifest

Outputs = Mapping[str, np.ndarray]
"""Outputs [N, ...] by name."""


@dataclass(frozen=True)
class Compared:
    """Holds the outcome of a comparison for N images.

    Args:
        differences: float [N], which must not exceed the comparison's limit.
        agreeing: bool [N], whether the answer is the same in the task's own metric.
        detail: what the comparison's own `figures` are computed from.
    """

    differences: np.ndarray
    agreeing: np.ndarray
    detail: Any = None


class Comparison(Protocol):
    """Compares the answers of a graph with those of the network that it was made from."""

    @property
    def manifest(self) -> Manifest:
        """Returns the model's manifest."""

    @property
    def what(self) -> str:
        """Returns whose difference is limited, for the sentence of an error: "a probability"."""

    @property
    def limit(self) -> float:
        """Returns the largest difference that is allowed."""

    def compare(self, got: Outputs, wanted: Outputs) -> Compared:
        """Compares the graph's outputs with the network's, of the same N images."""

    def figures(self, parts: Sequence[Compared]) -> dict[str, Any]:
        """Returns the task's own fields of `Parity`.

        Args:
            parts: the outcome at each batch size; the last one holds every image.
        """
