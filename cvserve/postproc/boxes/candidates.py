"""Chooses the (box, class) pairs of an image that are decoded: those with high scores, compared as logits."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from cvserve.artifact import DetectionPostproc
from cvserve.errors import ArtifactError
from cvserve.postproc.activations import sigmoid, softmax

# Lower scores cannot be told apart from 0 in float32 logits.
_LEAST_THRESHOLD = 1e-6
# Logits this close below the threshold are checked too: the score decides, not the rounding of its logit.
_SLACK = 1e-3


class Candidates(NamedTuple):
    """Holds N chosen pairs. boxes: int64 [N], ascending, of the A boxes. classes: int64 [N]. scores: float32 [N]."""

    boxes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray


def choose_candidates(
    logits: np.ndarray, objectness: np.ndarray | None, spec: DetectionPostproc, threshold: float
) -> Candidates:
    """Returns the pairs whose score is at least the threshold, and the best of them beyond `spec.max_candidates`.

    Logits are compared before any is exponentiated, which rules out nearly all of them. Of equal scores the lower
    (box, class) is taken first.

    Args:
        logits: float32 [A, C], or [A, C + 1] with the background first where `spec.activation` is "softmax".
        objectness: float32 [A], logits whose sigmoid multiplies the scores; None where the graph has none.
        threshold: 0 to 1; under 1e-6 counts as 1e-6.

    Raises:
        ArtifactError: a logit is not a number.
    """
    threshold = max(threshold, _LEAST_THRESHOLD)
    reachable = min(threshold, 1 - _LEAST_THRESHOLD)
    cut = np.float32(math.log(reachable) - math.log1p(-reachable) - _SLACK)
    if _has_nan(logits) or (objectness is not None and _has_nan(objectness)):
        raise ArtifactError("the graph gave scores that are not numbers (NaN)")
    # A score is a product of two factors below 1, so each factor is at least the score.
    possible = None if objectness is None else np.flatnonzero(objectness >= cut)
    own = logits if possible is None else logits[possible]
    boxes, classes, scores = (_softmax if spec.activation == "softmax" else _sigmoids)(own, cut)
    if possible is not None and objectness is not None:
        boxes = possible[boxes]
        scores = scores * sigmoid(objectness[boxes])
    enough = np.flatnonzero(scores >= threshold)
    if len(enough) > spec.max_candidates:
        enough = enough[_best(scores[enough], spec.max_candidates)]
    return Candidates(boxes[enough], classes[enough], scores[enough])


def _sigmoids(logits: np.ndarray, cut: np.float32) -> Candidates:
    # One flat index and a division are ten times faster than np.nonzero of two axes.
    boxes, classes = np.divmod(np.flatnonzero(logits >= cut), logits.shape[1])
    return Candidates(boxes, classes, sigmoid(logits[boxes, classes]))


def _softmax(logits: np.ndarray, cut: np.float32) -> Candidates:
    # A class's share of all classes is at most its share of itself and the background.
    near = logits >= logits[:, :1] + cut
    near[:, 0] = False
    boxes, columns = np.divmod(np.flatnonzero(near), logits.shape[1])
    rows, row_of = np.unique(boxes, return_inverse=True)
    with np.errstate(invalid="ignore"):
        scores = softmax(logits[rows])[row_of, columns]
    if _has_nan(scores):
        raise ArtifactError("the graph gave scores that are not numbers (infinite logits)")
    return Candidates(boxes, columns - 1, scores)


def _best(scores: np.ndarray, count: int) -> np.ndarray:
    """Returns the indices of the `count` greatest, ascending; of equal ones the first."""
    last = np.partition(scores, -count)[-count]
    above = np.flatnonzero(scores > last)
    tied = np.flatnonzero(scores == last)
    return np.sort(np.concatenate([above, tied[: count - len(above)]]))


def _has_nan(values: np.ndarray) -> bool:
    # The maximum of what holds a NaN is NaN, and costs a third of isnan.
    return bool(values.size) and bool(np.isnan(values.max()))
