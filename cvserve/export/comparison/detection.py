"""Compares two detectors' answers: the raw outputs where their order is fixed, and the objects after suppression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from cvserve.artifact import DetectionPostproc, Manifest
from cvserve.errors import ArtifactError, MissingExtra
from cvserve.export.comparison.base import Compared, Outputs
from cvserve.export.detect_signature import detect_spec
from cvserve.postproc.boxes import iou_matrix
from cvserve.postproc.decoders.detection import ROLES, DecodedObjects, decode_detection_arrays
from cvserve.postproc.pasting import THRESHOLD
from cvserve.postproc.quantized import real_values
from cvserve.postproc.results import DetectionResult

if TYPE_CHECKING:
    from cvserve.data.objects import Objects


@dataclass(frozen=True)
class Tolerance:
    """Defines when two objects count as the same.

    They have the same class, at least the intersection over union `iou`, at most the difference in score `score`, and
    at least the overlap `mask_iou` of their masks, where there are some.

    unmatched: the largest fraction of objects without a partner that is allowed; None: any, it is only reported.
    Objects at the threshold (or, in a full list, as weak as its last one) may lack a partner: the last digit decides
    which of them appear. So may a few others, where two boxes overlap by nearly the suppression's threshold.
    """

    iou: float = 0.99
    score: float = 1e-3
    unmatched: float | None = 0.02
    mask_iou: float = 0.95


ROUNDED_PIXELS = Tolerance(iou=0.8, score=0.1, unmatched=None, mask_iou=0.5)
"""The tolerance for images whose pixels differ by a rounding."""


@dataclass(frozen=True)
class Matching:
    """Holds the matched objects of one image.

    objects: number of objects in both answers together. unmatched: how many of them lack a partner and should have one.
    ious, scores: overlap and difference in score of each matched pair. mask_ious: overlap of their masks; empty where
    there are no masks.
    """

    objects: int
    unmatched: int
    ious: np.ndarray
    scores: np.ndarray
    mask_ious: np.ndarray


def match(got: DecodedObjects, wanted: DecodedObjects, tolerance: Tolerance, threshold: float, most: int) -> Matching:
    """Pairs the objects of two answers, best first, each with the unpaired one that overlaps it most.

    Args:
        threshold: the least score with which both answers were decoded.
        most: the largest number of objects with which both were decoded.
    """
    overlaps = iou_matrix(wanted[0], got[0])
    differences = np.abs(wanted[1][:, None] - got[1][None, :])
    fits = (overlaps >= tolerance.iou) & (differences <= tolerance.score) & (wanted[2][:, None] == got[2][None, :])
    alike = None
    if wanted.masks is not None and got.masks is not None:
        alike = mask_overlaps(wanted.masks, got.masks, tolerance.score)
        fits &= alike >= tolerance.mask_iou
    free = np.ones(len(got[1]), bool)
    pairs = []
    for row in range(len(wanted[1])):
        candidates = np.flatnonzero(fits[row] & free)
        if len(candidates):
            partner = candidates[np.argmax(overlaps[row, candidates])]
            free[partner] = False
            pairs.append((row, partner))
    rows, columns = np.array(pairs, int).reshape(-1, 2).T
    alone = np.ones(len(wanted[1]), bool)
    alone[rows] = False
    # The next object that the other answer left out is no stronger than its threshold, or than its last object.
    missing = (wanted[1] > _cut(got[1], threshold, most) + tolerance.score) & alone
    surplus = (got[1] > _cut(wanted[1], threshold, most) + tolerance.score) & free
    return Matching(
        len(wanted[1]) + len(got[1]),
        int(missing.sum() + surplus.sum()),
        overlaps[rows, columns],
        differences[rows, columns],
        np.zeros(0) if alike is None else alike[rows, columns],
    )


def mask_overlaps(first: np.ndarray, second: np.ndarray, slack: float) -> np.ndarray:
    """Returns the intersection over union of each two masks: float64 [N, M], 1 where both are empty.

    Args:
        first, second: float32 [N, R, R] and [M, R, R], 0 to 1, in cells of their boxes.
        slack: where two cells differ by no more, the second counts as the first: at the threshold the last digit
            decides.
    """
    cells = int(np.prod(first.shape[1:]))
    first_cells, second_cells = first.reshape(len(first), 1, cells), second.reshape(1, len(second), cells)
    inside = first_cells >= THRESHOLD
    other = np.where(np.abs(first_cells - second_cells) <= slack, inside, second_cells >= THRESHOLD)
    shared = np.count_nonzero(inside & other, axis=-1)
    union = np.count_nonzero(inside | other, axis=-1)
    return np.divide(shared, union, out=np.ones(shared.shape), where=union > 0)


def in_order(manifest: Manifest) -> bool:
    """Returns whether the raw outputs have the same order in all formats: those of one-stage networks have, by the
    grid."""
    return bool(DetectionPostproc.of(manifest).boxes.levels)


def _cut(scores: np.ndarray, threshold: float, most: int) -> float:
    return float(scores.min()) if len(scores) >= most else threshold


@dataclass(frozen=True)
class DetectionComparison:
    """Compares raw outputs and objects; an image agrees that has the same objects.

    limit: of the largest difference of a raw output, relative to the output's largest value (or to 1, if that is more).
    Two-stage networks may give their boxes in another order in each format, where scores tie: their raw outputs are
    not compared, and the difference is that of matched objects' scores.
    """

    manifest: Manifest
    limit: float
    tolerance: Tolerance = Tolerance()
    ground_truth: Sequence[Objects] | None = field(default=None, repr=False)

    @property
    def what(self) -> str:
        """Returns whose difference is limited, for the sentence of an error."""
        return "an output, relative to its largest value," if in_order(self.manifest) else "the score of an object"

    def compare(self, got: Outputs, wanted: Outputs) -> Compared:
        """Compares raw outputs and objects."""
        from_graph, from_network = by_role(got, self.manifest), by_role(wanted, self.manifest)
        for role, values in from_network.items():
            if from_graph[role].shape != values.shape:
                raise ArtifactError(f"the {role} are {list(from_graph[role].shape)}, not {list(values.shape)}")
        compared = compare_objects(
            decoded_objects(from_graph, self.manifest),
            decoded_objects(from_network, self.manifest),
            self.manifest,
            self.tolerance,
            (from_graph, from_network),
        )
        if not in_order(self.manifest):
            return compared
        differences = np.zeros(len(compared.agreeing))
        for role, values in from_network.items():
            axes = tuple(range(1, values.ndim))
            differences = np.maximum(differences, np.abs(from_graph[role] - values).max(axis=axes) / _size(values))
        return Compared(differences, compared.agreeing, compared.detail)

    def figures(self, parts: Sequence[Compared]) -> dict[str, Any]:
        """Returns the figures about objects, and the difference in mAP where the ground truth is known."""
        figures = box_figures(parts, self.tolerance)
        if self.ground_truth is not None:
            of_graph, of_network = (
                mean_precision(side, self.ground_truth, self.manifest) for side in parts[-1].detail.outputs
            )
            if of_graph is not None and of_network is not None:
                figures["map_difference"] = abs(of_graph - of_network)
        return figures


@dataclass(frozen=True)
class SignatureComparison:
    """Compares the answers of the signature `detect` with what `postproc` finds in the network's raw outputs."""

    manifest: Manifest
    tolerance: Tolerance = Tolerance()
    what: str = "the score of an object"

    @property
    def limit(self) -> float:
        """Returns the largest allowed difference of a score."""
        return self.tolerance.score

    def compare(self, got: Outputs, wanted: Outputs) -> Compared:
        """Compares the signature's objects with those that are decoded from the network's outputs."""
        manifest = self.manifest.model_copy(update={"postproc": detect_spec(DetectionPostproc.of(self.manifest))})
        objects = [
            DecodedObjects(got["boxes"][index, :count], got["scores"][index, :count], got["classes"][index, :count])
            for index, count in enumerate(got["count"].tolist())
        ]
        return compare_objects(objects, decoded_objects(by_role(wanted, manifest), manifest), manifest, self.tolerance)

    def figures(self, parts: Sequence[Compared]) -> dict[str, Any]:
        """Returns the figures about objects."""
        return box_figures(parts, self.tolerance)


@dataclass(frozen=True)
class Detail:
    """Holds the values for the figures. matchings: of each image. outputs: the graph's and the network's, by role."""

    matchings: tuple[Matching, ...]
    outputs: tuple[Mapping[str, np.ndarray], ...] = ()


def compare_objects(
    got: Sequence[DecodedObjects],
    wanted: Sequence[DecodedObjects],
    manifest: Manifest,
    tolerance: Tolerance,
    outputs: tuple[Mapping[str, np.ndarray], ...] = (),
) -> Compared:
    """Compares decoded answers; the differences are those of matched objects' scores."""
    spec = DetectionPostproc.of(manifest)
    matchings = tuple(
        match(*pair, tolerance, spec.score_threshold, spec.max_results) for pair in zip(got, wanted, strict=True)
    )
    return Compared(
        np.array([item.scores.max(initial=0.0) for item in matchings]),
        np.array([not item.unmatched for item in matchings]),
        Detail(matchings, outputs),
    )


def box_figures(parts: Sequence[Compared], tolerance: Tolerance) -> dict[str, Any]:
    """Returns the fields of `DetectionParity` about objects."""
    all_of = [item for part in parts for item in part.detail.matchings]
    ious = np.concatenate([item.ious for item in all_of])
    scores = np.concatenate([item.scores for item in all_of])
    masks = np.concatenate([item.mask_ious for item in all_of])
    objects = sum(item.objects for item in all_of)
    return {
        "objects": sum(item.objects for item in parts[-1].detail.matchings) // 2,
        "unmatched": sum(item.unmatched for item in all_of) / objects if objects else 0.0,
        "unmatched_limit": tolerance.unmatched,
        "box_iou": float(ious.mean()) if len(ious) else None,
        "box_iou_min": float(ious.min()) if len(ious) else None,
        "score_difference": float(scores.max()) if len(scores) else None,
        "mask_iou": float(masks.mean()) if len(masks) else None,
        "mask_iou_min": float(masks.min()) if len(masks) else None,
    }


def by_role(outputs: Outputs, manifest: Manifest) -> dict[str, np.ndarray]:
    """Returns the outputs that decoding reads, float32, by role."""
    return {spec.role: real_values(outputs[spec.name], spec) for spec in manifest.outputs if spec.role in ROLES}


def decoded_objects(outputs: Mapping[str, np.ndarray], manifest: Manifest, **options: Any) -> list[DecodedObjects]:
    """Returns the objects of each image, in pixels of the graph's input."""
    spec = manifest.preproc
    return decode_detection_arrays(outputs, DetectionPostproc.of(manifest), spec.height, spec.width, **options)


def mean_precision(
    outputs: Mapping[str, np.ndarray], ground_truth: Sequence[Objects], manifest: Manifest
) -> float | None:
    """Returns COCO's mAP of the outputs by role; None where pycocotools is not installed.

    Args:
        ground_truth: of each image, in pixels of the graph's input.
    """
    from cvserve.evaluation.detection import SCORING, detection_report

    spec = manifest.preproc
    results = [
        DetectionResult(item.boxes, item.scores, item.classes, manifest.labels, spec.width, spec.height)
        for item in decoded_objects(outputs, manifest, **SCORING)
    ]
    try:
        return detection_report(results, ground_truth, manifest.labels).map
    except MissingExtra:
        return None


def _size(values: np.ndarray) -> float:
    return max(1.0, float(np.abs(values).max(initial=0.0)))
