"""Turns class scores into the best classes of each image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cvserve.artifact import ClassificationPostproc
from cvserve.errors import ArtifactError, InvalidInput
from cvserve.postproc.activations import sigmoid, softmax
from cvserve.postproc.contract import Contract
from cvserve.postproc.quantized import real_values
from cvserve.postproc.results import ClassificationResult, ClassScore

if TYPE_CHECKING:
    from cvserve.postproc.decode import Options
    from cvserve.preproc import Geometry


def class_scores(outputs: Mapping[str, np.ndarray], manifest: Contract) -> np.ndarray:
    """Returns the probabilities of a classification graph, dequantised, and activated where the graph gives logits.

    Args:
        outputs: the graph's outputs by name, batch first: [B, C], or with axes of length 1 beside C.

    Returns:
        float32 [B, C], C classes in the order of the manifest's labels.

    Raises:
        ArtifactError: the outputs are not what the manifest says.
    """
    spec = manifest.output("probabilities") or manifest.output("logits")
    if spec is None or spec.name not in outputs:
        wanted = "probabilities or logits" if spec is None else repr(spec.name)
        raise ArtifactError(f"{manifest.name}: the graph has no output {wanted}, only {sorted(outputs)}")
    scores = real_values(outputs[spec.name], spec)
    classes = len(manifest.labels)
    if scores.ndim < 2 or math.prod(scores.shape[1:]) != classes:
        raise ArtifactError(
            f"{manifest.name}: output {spec.name!r} has shape {list(scores.shape)}, which is not [batch, {classes}]"
        )
    scores = scores.reshape(len(scores), classes)
    if spec.role == "probabilities":
        return scores
    return sigmoid(scores) if ClassificationPostproc.of(manifest).activation == "sigmoid" else softmax(scores)


def decode_classification(scores: np.ndarray, labels: tuple[str, ...], top_k: int) -> list[ClassificationResult]:
    """Returns the best classes of each image, best first; equal scores in index order.

    Args:
        scores: float [B, C].
        labels: C names.
        top_k: how many classes an image; at most C are given.

    Raises:
        InvalidInput: top_k below 1.
        ArtifactError: a score is not a number.
    """
    if top_k < 1:
        raise InvalidInput(f"top_k must be at least 1, not {top_k}")
    if np.isnan(scores).any():
        raise ArtifactError("the graph gave scores that are not numbers (NaN)")
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
    return [
        ClassificationResult(tuple(ClassScore(labels[index], int(index), float(row[index])) for index in order))
        for row, order in zip(scores, best, strict=True)
    ]


def _decode(
    outputs: Mapping[str, np.ndarray], geometries: Sequence[Geometry], manifest: Contract, options: Options
) -> list[ClassificationResult]:
    scores = class_scores(outputs, manifest)
    if len(scores) != len(geometries):
        raise InvalidInput(f"the graph answered for {len(scores)} images, {len(geometries)} were given")
    return decode_classification(scores, manifest.labels, options.top_k or ClassificationPostproc.of(manifest).top_k)


DECODER = _decode
