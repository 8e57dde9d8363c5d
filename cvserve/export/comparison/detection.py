"""Two detectors' answers compared: the raw outputs where their order is fixed, and the objects after suppression."""

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
from cvserve.postproc.decoders.detection import ROLES, Found, decode_detection_arrays
from cvserve.postproc.pasting import THRESHOLD
from cvserve.postproc.quantized import real_values
from cvserve.postproc.results import DetectionResult

if TYPE_CHECKING:
    from cvserve.data.objects import Objects


@dataclass(frozen=True)
class Tolerance:
    """When an object of one side is the other side's: same class, at least this intersection over union, at most this
    difference in score, and of masks, where there are some, at least mask_iou. unmatched: the largest share of objects
    without a partner; None: reported, and not judged.

    Objects at the threshold (or, of a full list, as weak as its last one) may lack a partner: which of them appear is
    decided by the last digit. So may a few others, where two boxes overlap by nearly the suppression's threshold.
    """

    iou: float = 0.99
    score: float = 1e-3
    unmatched: float | None = 0.02
    mask_iou: float = 0.95


ROUNDED_PIXELS = Tolerance(iou=0.8, score=0.1, unmatched=None, mask_iou=0.5)
"""For images whose pixels differ by a rounding."""


@dataclass(frozen=True)
class Matching:
    """One image. objects: of both sides. unmatched: those without a partner that should have one. ious, scores: of
    the matched pairs, their overlap and their difference in score. mask_ious: of their masks' cells; empty without."""

    objects: int
    unmatched: int
    ious: np.ndarray
    scores: np.ndarray
    mask_ious: np.ndarray


def match(got: Found, wanted: Found, tolerance: Tolerance, threshold: float, most: int) -> Matching:
    """Pairs the objects of two answers, best first, each with the free one that overlaps it most.

    Args:
        threshold, most: of the score and the number of objects, with which both sides were decoded.
    """
    overlaps = iou_matrix(wanted[0], got[0])
    differences = np.abs(wanted[1][:, None] - got[1][None, :])
    fit = (overlaps >= tolerance.iou) & (differences <= tolerance.score) & (wanted[2][:, None] == got[2][None, :])
    alike = None
    if wanted.masks is not None and got.masks is not None:
        alike = mask_overlaps(wanted.masks, got.masks, tolerance.score)
        fit &= alike >= tolerance.mask_iou
    free = np.ones(len(got[1]), bool)
    pairs = []
    for row in range(len(wanted[1])):
        candidates = np.flatnonzero(fit[row] & free)
        if len(candidates):
            partner = candidates[np.argmax(overlaps[row, candidates])]
            free[partner] = False
            pairs.append((row, partner))
    rows, columns = np.array(pairs, int).reshape(-1, 2).T
    alone = np.ones(len(wanted[1]), bool)
    alone[rows] = False
    # What the other side would have shown next is no stronger than its threshold, or than its last one.
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
    """Intersection over union of masks told in cells of their boxes: float64 [N, M], 1 where both are empty.

    Args:
        first, second: float32 [N, R, R] and [M, R, R], 0 to 1.
        slack: of two cells that differ by no more both count as the first: at the threshold the last digit decides.
    """
    cells = int(np.prod(first.shape[1:]))
    mine, theirs = first.reshape(len(first), 1, cells), second.reshape(1, len(second), cells)
    inside = mine >= THRESHOLD
    other = np.where(np.abs(mine - theirs) <= slack, inside, theirs >= THRESHOLD)
    shared = np.count_nonzero(inside & other, axis=-1)
    union = np.count_nonzero(inside | other, axis=-1)
    return np.divide(shared, union, out=np.ones(shared.shape), where=union > 0)


def in_order(manifest: Manifest) -> bool:
    """Whether the raw outputs of all formats have the same order: those of one stage have, told by the grid."""
    return bool(DetectionPostproc.of(manifest).boxes.levels)


def _cut(scores: np.ndarray, threshold: float, most: int) -> float:
    return float(scores.min()) if len(scores) >= most else threshold


@dataclass(frozen=True)
class DetectionComparison:
    """Of detection.

    limit: of the raw outputs' largest difference, relative to the largest value of each output (or to 1, if that is
    more). Two-stage networks may give their boxes in another order in each format, where scores tie: their raw outputs
    are not compared, and the difference is that of matched objects' scores.
    """

    manifest: Manifest
    limit: float
    tolerance: Tolerance = Tolerance()
    ground_truth: Sequence[Objects] | None = field(default=None, repr=False)

    @property
    def what(self) -> str:
        return "an output, relative to its largest value," if in_order(self.manifest) else "the score of an object"

    def compare(self, got: Outputs, wanted: Outputs) -> Compared:
        mine, theirs = by_role(got, self.manifest), by_role(wanted, self.manifest)
        for role, values in theirs.items():
            if mine[role].shape != values.shape:
                raise ArtifactError(f"the {role} are {list(mine[role].shape)}, not {list(values.shape)}")
        compared = compare_found(
            found(mine, self.manifest), found(theirs, self.manifest), self.manifest, self.tolerance, (mine, theirs)
        )
        if not in_order(self.manifest):
            return compared
        differences = np.zeros(len(compared.agreeing))
        for role, values in theirs.items():
            axes = tuple(range(1, values.ndim))
            differences = np.maximum(differences, np.abs(mine[role] - values).max(axis=axes) / _size(values))
        return Compared(differences, compared.agreeing, compared.detail)

    def figures(self, parts: Sequence[Compared]) -> dict[str, Any]:
        figures = box_figures(parts, self.tolerance)
        if self.ground_truth is not None:
            mine, theirs = (mean_precision(side, self.ground_truth, self.manifest) for side in parts[-1].detail.sides)
            if mine is not None and theirs is not None:
                figures["map_difference"] = abs(mine - theirs)
        return figures


@dataclass(frozen=True)
class SignatureComparison:
    """Of the signature `detect`: its answers with what `postproc` finds in the network's raw outputs."""

    manifest: Manifest
    tolerance: Tolerance = Tolerance()
    what: str = "the score of an object"

    @property
    def limit(self) -> float:
        return self.tolerance.score

    def compare(self, got: Outputs, wanted: Outputs) -> Compared:
        manifest = self.manifest.model_copy(update={"postproc": detect_spec(DetectionPostproc.of(self.manifest))})
        mine = [
            Found(got["boxes"][index, :count], got["scores"][index, :count], got["classes"][index, :count])
            for index, count in enumerate(got["count"].tolist())
        ]
        return compare_found(mine, found(by_role(wanted, manifest), manifest), manifest, self.tolerance)

    def figures(self, parts: Sequence[Compared]) -> dict[str, Any]:
        return box_figures(parts, self.tolerance)


@dataclass(frozen=True)
class Detail:
    """matchings: of each image. sides: both sides' outputs by role."""

    matchings: tuple[Matching, ...]
    sides: tuple[Mapping[str, np.ndarray], ...] = ()


def compare_found(
    got: Sequence[Found],
    wanted: Sequence[Found],
    manifest: Manifest,
    tolerance: Tolerance,
    sides: tuple[Mapping[str, np.ndarray], ...] = (),
) -> Compared:
    """Decoded answers; the differences are those of matched objects' scores."""
    spec = DetectionPostproc.of(manifest)
    matchings = tuple(
        match(*pair, tolerance, spec.score_threshold, spec.max_results) for pair in zip(got, wanted, strict=True)
    )
    return Compared(
        np.array([item.scores.max(initial=0.0) for item in matchings]),
        np.array([not item.unmatched for item in matchings]),
        Detail(matchings, sides),
    )


def box_figures(parts: Sequence[Compared], tolerance: Tolerance) -> dict[str, Any]:
    """The fields of `DetectionParity` that tell of objects."""
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
    """The outputs that decoding reads, float32, by role."""
    return {spec.role: real_values(outputs[spec.name], spec) for spec in manifest.outputs if spec.role in ROLES}


def found(outputs: Mapping[str, np.ndarray], manifest: Manifest, **options: Any) -> list[Found]:
    """What is found in each image, in pixels of the graph's input."""
    spec = manifest.preproc
    return decode_detection_arrays(outputs, DetectionPostproc.of(manifest), spec.height, spec.width, **options)


def mean_precision(
    outputs: Mapping[str, np.ndarray], ground_truth: Sequence[Objects], manifest: Manifest
) -> float | None:
    """COCO's mAP of the outputs by role; None where pycocotools is not installed.

    Args:
        truth: of each image, in pixels of the graph's input.
    """
    from cvserve.evaluation.detection import SCORING, detection_report

    spec = manifest.preproc
    results = [
        DetectionResult(item.boxes, item.scores, item.classes, manifest.labels, spec.width, spec.height)
        for item in found(outputs, manifest, **SCORING)
    ]
    try:
        return detection_report(results, ground_truth, manifest.labels).map
    except MissingExtra:
        return None


def _size(values: np.ndarray) -> float:
    return max(1.0, float(np.abs(values).max(initial=0.0)))
