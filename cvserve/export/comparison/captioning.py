"""Compares two captioning networks' answers: the sentences, token by token, and their log probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cvserve.artifact import Manifest
from cvserve.errors import ArtifactError
from cvserve.export.comparison.base import Compared, Outputs


@dataclass(frozen=True)
class CaptionComparison:
    """Compares sentences; an image agrees whose token ids are the same in all its sentences.

    limit: of the difference in log probability (relative to it where it is beyond 1) of the sentences that are the
    same. agreement_limit: the least fraction of images that must agree; None: any, it is only reported.
    """

    manifest: Manifest
    limit: float
    agreement_limit: float | None = 1.0
    what: str = "the log probability of a sentence"

    def compare(self, got: Outputs, wanted: Outputs) -> Compared:
        """Compares token ids and log probabilities."""
        from_graph, from_network = self._of_role("token_ids", got), self._of_role("token_ids", wanted)
        if from_graph.shape != from_network.shape:
            raise ArtifactError(f"the token ids are {list(from_graph.shape)}, not {list(from_network.shape)}")
        # [N, K, T] with one sentence or several.
        same = (from_graph == from_network).reshape(len(from_graph), -1, from_graph.shape[-1]).all(axis=2)
        ours, others = (
            self._of_role("log_probability", side).reshape(len(from_graph), -1).astype(np.float64)
            for side in (got, wanted)
        )
        if ours.shape != same.shape:
            raise ArtifactError(f"the log probabilities are {list(ours.shape)}, not {list(same.shape)}")
        relative = np.abs(ours - others) / np.maximum(np.abs(others), 1)
        relative = np.where(same | np.isnan(relative), relative, 0)
        return Compared(relative.max(axis=1), same.all(axis=1))

    def figures(self, parts: Sequence[Compared]) -> dict[str, Any]:
        """Returns the limit of the agreement."""
        return {"agreement_limit": self.agreement_limit}

    def _of_role(self, role: str, outputs: Outputs) -> np.ndarray:
        spec = self.manifest.output(role)
        assert spec is not None, "the manifest has been checked"
        return np.asarray(outputs[spec.name])
