"""Raw heads to the objects of each picture: scores cut first, boxes decoded for what is left, suppressed by class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cvserve.artifact import Manifest, PostprocSpec
from cvserve.errors import ArtifactError, InvalidInput
from cvserve.postproc.boxes import decode_boxes, nms
from cvserve.postproc.quantized import real_values
from cvserve.postproc.results import DetectionResult

if TYPE_CHECKING:
    from cvserve.preproc import Geometry

ROLES = ("box_offsets", "class_logits", "objectness", "proposals")
# Scores under this are nothing that float32 logits tell apart from 0.
_LEAST_THRESHOLD = 1e-6

Found = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Boxes float32 [N, 4] in pixels of the graph's input, scores float32 [N], classes int32 [N]; best first."""


def decode_detection(
    outputs: Mapping[str, np.ndarray],
    geometries: Sequence[Geometry],
    manifest: Manifest,
    *,
    score_threshold: float | None = None,
    iou_threshold: float | None = None,
    max_results: int | None = None,
) -> list[DetectionResult]:
    """One result a picture, boxes in the coordinates of the original.

    Args:
        outputs: the graph's outputs by name, batch first.
        geometries: how each picture was resized.
        score_threshold, iou_threshold, max_results: None takes the manifest's.

    Raises:
        ArtifactError: the outputs are not what the manifest says.
    """
    by_role: dict[str, np.ndarray] = {}
    for spec in manifest.outputs:
        if spec.role in ROLES:
            if spec.name not in outputs:
                raise ArtifactError(f"{manifest.name}: the graph has no output {spec.name!r}, only {sorted(outputs)}")
            by_role[spec.role] = real_values(outputs[spec.name], spec)
    found = decode_detection_arrays(
        by_role,
        manifest.postproc,
        manifest.preproc.height,
        manifest.preproc.width,
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        max_results=max_results,
    )
    if len(found) != len(geometries):
        raise InvalidInput(f"the graph answered for {len(found)} pictures, {len(geometries)} were given")
    return [in_original(item, geometry, manifest.labels) for item, geometry in zip(found, geometries, strict=True)]


def in_original(found: Found, geometry: Geometry, labels: tuple[str, ...]) -> DetectionResult:
    """What was found in the graph's input, in the coordinates of the original; what lies outside of it is left out."""
    boxes = geometry.to_original(found[0])
    inside = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return DetectionResult(
        boxes[inside],
        found[1][inside],
        found[2][inside],
        labels,
        geometry.original_width,
        geometry.original_height,
    )


def decode_detection_arrays(
    outputs: Mapping[str, np.ndarray],
    spec: PostprocSpec,
    height: int,
    width: int,
    *,
    score_threshold: float | None = None,
    iou_threshold: float | None = None,
    max_results: int | None = None,
) -> list[Found]:
    """What is found in each picture, in pixels of the graph's input.

    Args:
        outputs: float32 by role, batch first: see `BoxCoding` and `PostprocSpec`.
        height, width: of the graph's input.
        score_threshold, iou_threshold, max_results: None takes the spec's.

    Raises:
        ArtifactError: a role is missing, shapes do not fit, or a value is not a number.
    """
    coding = spec.boxes
    if coding is None or "box_offsets" not in outputs or "class_logits" not in outputs:
        raise ArtifactError("a detection graph needs a box coding and outputs of roles box_offsets and class_logits")
    threshold = max(spec.score_threshold if score_threshold is None else score_threshold, _LEAST_THRESHOLD)
    overlap = spec.iou_threshold if iou_threshold is None else iou_threshold
    most = spec.max_results if max_results is None else max_results
    offsets, logits = outputs["box_offsets"], outputs["class_logits"]
    if offsets.shape[:2] != logits.shape[:2] or logits.ndim != 3 or offsets.shape[-1] != 4:
        raise ArtifactError(f"box_offsets {list(offsets.shape)} and class_logits {list(logits.shape)} do not fit")
    if coding.boxes not in (None, logits.shape[1]):
        raise ArtifactError(f"the graph gave {logits.shape[1]} boxes, its box coding has {coding.boxes}")
    results = []
    for index in range(len(logits)):
        objectness = outputs["objectness"][index].reshape(-1) if "objectness" in outputs else None
        chosen, classes, scores = _candidates(logits[index], objectness, spec, threshold)
        proposals = outputs["proposals"][index][chosen] if not coding.levels and "proposals" in outputs else None
        numbers = offsets[index][chosen] if offsets.ndim == 3 else offsets[index][chosen, classes]
        boxes = decode_boxes(numbers, coding, height, width, proposals, chosen)
        if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
            raise ArtifactError("the graph gave boxes that are not numbers (NaN)")
        boxes = np.clip(boxes, 0, np.array([width, height, width, height], np.float32)).astype(np.float32, copy=False)
        solid = np.flatnonzero((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))
        kept = solid[nms(boxes[solid], scores[solid], classes[solid], overlap, most)]
        results.append((boxes[kept], scores[kept], classes[kept].astype(np.int32)))
    return results


def _candidates(
    logits: np.ndarray, objectness: np.ndarray | None, spec: PostprocSpec, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which boxes and classes reach the threshold, at most `max_candidates`: int64 [N], int64 [N], float32 [N].

    Logits are compared before anything is exponentiated: nearly all of them end there.
    """
    if np.isnan(logits).any() or (objectness is not None and np.isnan(objectness).any()):
        raise ArtifactError("the graph gave scores that are not numbers (NaN)")
    cut = math.log(threshold) - math.log1p(-threshold) if threshold < 1 else math.inf
    if spec.activation == "softmax":
        # A share of at least the threshold means at most log(1 / threshold) below the greatest.
        near = logits[:, 1:] >= logits.max(axis=1, keepdims=True) + math.log(threshold)
        rows, classes = np.nonzero(near)
        taken = logits[rows]
        peak = taken.max(axis=1)
        scores = np.exp(logits[rows, classes + 1] - peak) / np.exp(taken - peak[:, None]).sum(axis=1)
    else:
        # Each factor of a product of shares is at least the product.
        if objectness is not None:
            possible = np.flatnonzero(objectness >= cut)
            rows, classes = np.nonzero(logits[possible] >= cut)
            rows = possible[rows]
        else:
            places = np.flatnonzero(logits >= cut)
            rows, classes = np.divmod(places, logits.shape[1])
        scores = _sigmoid(logits[rows, classes])
        if objectness is not None:
            scores = scores * _sigmoid(objectness[rows])
    enough = np.flatnonzero(scores >= threshold)
    if len(enough) > spec.max_candidates:
        best = np.argpartition(-scores[enough], spec.max_candidates - 1)[: spec.max_candidates]
        enough = enough[np.sort(best)]
    return rows[enough], classes[enough], scores[enough].astype(np.float32)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    # exp of a number that is never positive, so that none overflows.
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small)).astype(np.float32)
