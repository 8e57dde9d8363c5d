"""Two segmentation networks' answers compared: the class of every pixel, and the confidence where they agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cvserve.artifact import Manifest
from cvserve.errors import ArtifactError
from cvserve.export.comparison.base import Compared, Outputs
from cvserve.postproc.quantized import real_values

PIXEL_AGREEMENT = 0.999
"""The least share of pixels with the same class: where two classes tie, the last digit decides."""

TIED_PIXELS = 0.05
"""The share of an image's pixels that a network may tell with another confidence, if ties decide inside of it: where
the two best values of a pooling are equal but for the last digit, the place that its switch remembers is chance, and
the pixels around it hear of it. Of 51 images by a trained segnet: about 0.001 in the mean, 0.023 at most."""

VOID = 255
"""The label of pixels of a known truth that are not counted."""


@dataclass(frozen=True)
class SegmentationComparison:
    """Of segmentation.

    limit: of the confidence, over the pixels that have the same class on both sides. pixel_limit: the least share of
    such pixels, of an image to count as the same and of all images together; None: reported, and not judged.
    tied: the share of an image's pixels that are left out of that, those farthest off.
    truth: uint8 [H, W] of each image, in the size of the graph's input, classes or VOID: for the difference in mIoU.
    """

    manifest: Manifest
    limit: float
    pixel_limit: float | None = PIXEL_AGREEMENT
    tied: float = 0.0
    ground_truth: Sequence[np.ndarray] | None = field(default=None, repr=False)
    what: str = "the confidence of a pixel"

    def compare(self, got: Outputs, wanted: Outputs) -> Compared:
        mine, theirs = self._maps(got), self._maps(wanted)
        if mine.shape != theirs.shape:
            raise ArtifactError(f"the class maps are {list(mine.shape)}, not {list(theirs.shape)}")
        same = mine == theirs
        difference = np.abs(self._confidence(got) - self._confidence(wanted))
        # Not `where(same, difference, 0).max()`, which a NaN where they differ would pass.
        difference = np.where(same | np.isnan(difference), difference, 0).reshape(len(mine), -1)
        shares = same.reshape(len(mine), -1).mean(axis=1)
        agreeing = shares >= (PIXEL_AGREEMENT if self.pixel_limit is None else self.pixel_limit)
        left_out = int(self.tied * difference.shape[1])
        # A NaN counts as the farthest off, and is never left out.
        judged = np.sort(difference, axis=1)[:, -1 - left_out] if left_out else difference.max(axis=1)
        judged = np.where(np.isnan(difference).any(axis=1), np.nan, judged)
        beyond = (difference > self.limit).mean(axis=1)
        return Compared(judged, agreeing, (mine, theirs, float(beyond.max())))

    def figures(self, parts: Sequence[Compared]) -> dict[str, Any]:
        count = len(self.manifest.labels)
        matrices = [confusion(part.detail[1], part.detail[0], count) for part in parts]
        # Of the worst batch size, so that one that is run with fewer images cannot hide.
        figures = {
            "pixel_agreement": min(float(np.trace(matrix) / max(matrix.sum(), 1)) for matrix in matrices),
            "pixel_agreement_limit": self.pixel_limit,
            "miou": min(mean_iou(matrix) or 0.0 for matrix in matrices),
        }
        if self.tied:
            figures |= {"beyond": max(part.detail[2] for part in parts), "beyond_limit": self.tied}
        if self.ground_truth is not None:
            ground_truth = np.stack(self.ground_truth)
            mine, theirs = (mean_iou(confusion(ground_truth, side, count)) for side in parts[-1].detail[:2])
            if mine is not None and theirs is not None:
                figures["miou_difference"] = abs(mine - theirs)
        return figures

    def _maps(self, outputs: Outputs) -> np.ndarray:
        spec = self.manifest.output("class_map")
        assert spec is not None, "the manifest has been checked"
        return np.asarray(outputs[spec.name])

    def _confidence(self, outputs: Outputs) -> np.ndarray:
        spec = self.manifest.output("confidence")
        assert spec is not None, "the manifest has been checked"
        return real_values(outputs[spec.name], spec)


def confusion(ground_truth: np.ndarray, found: np.ndarray, classes: int) -> np.ndarray:
    """int64 [classes, classes]: pixels by their class in `ground_truth` and in `found`, of which those that are no
    class in
    `ground_truth` are left out and those in `found` counted as 0.

    Args:
        truth, found: whole numbers of the same shape.
    """
    real = ground_truth.astype(np.int64).reshape(-1)
    kept = real < classes
    other = found.astype(np.int64).reshape(-1)[kept]
    pairs = real[kept] * classes + np.where(other < classes, other, 0)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def mean_iou(matrix: np.ndarray) -> float | None:
    """Mean over the classes of intersection over union, of those that either side has; None where there are none.

    Args:
        matrix: int [C, C], pixels by their classes on the two sides.
    """
    intersection = np.diagonal(matrix)
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - intersection
    there = union > 0
    return float((intersection[there] / union[there]).mean()) if there.any() else None
