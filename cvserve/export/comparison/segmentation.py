"""Compares two segmentation networks' answers: the class of every pixel, and the confidence where it is the same."""

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
"""The least fraction of pixels with the same class. Where two classes tie, the last digit decides."""

TIED_PIXELS = 0.05
"""The fraction of an image's pixels whose confidence may differ in a network with ties inside: where the two largest
values of a max pooling are equal but for the last digit, either place may be remembered, and the pixels around it
change. For 51 images and a trained segnet the fraction was 0.001 on average and 0.023 at most."""

VOID = 255
"""The label of pixels of the ground truth that are not counted."""


@dataclass(frozen=True)
class SegmentationComparison:
    """Compares class maps; an image agrees in which enough pixels have the same class.

    limit: of the difference in confidence, over the pixels that have the same class. pixel_limit: the least fraction
    of such pixels, in an image that agrees and in all images together; None: any, it is only reported. tied: the
    fraction of an image's pixels, those with the largest difference, that are not compared with the limit.
    ground_truth: uint8 [H, W] of each image, in the size of the graph's input, classes or VOID: for the difference in
    mIoU.
    """

    manifest: Manifest
    limit: float
    pixel_limit: float | None = PIXEL_AGREEMENT
    tied: float = 0.0
    ground_truth: Sequence[np.ndarray] | None = field(default=None, repr=False)
    what: str = "the confidence of a pixel"

    def compare(self, got: Outputs, wanted: Outputs) -> Compared:
        """Compares class maps, and confidences where the classes are the same."""
        from_graph, from_network = self._maps(got), self._maps(wanted)
        if from_graph.shape != from_network.shape:
            raise ArtifactError(f"the class maps are {list(from_graph.shape)}, not {list(from_network.shape)}")
        same = from_graph == from_network
        difference = np.abs(self._confidence(got) - self._confidence(wanted))
        # Not `where(same, difference, 0).max()`, which a NaN where they differ would pass.
        difference = np.where(same | np.isnan(difference), difference, 0).reshape(len(from_graph), -1)
        same_fractions = same.reshape(len(from_graph), -1).mean(axis=1)
        agreeing = same_fractions >= (PIXEL_AGREEMENT if self.pixel_limit is None else self.pixel_limit)
        left_out = int(self.tied * difference.shape[1])
        # A NaN counts as the largest difference, and is never left out.
        worst = np.sort(difference, axis=1)[:, -1 - left_out] if left_out else difference.max(axis=1)
        worst = np.where(np.isnan(difference).any(axis=1), np.nan, worst)
        beyond = (difference > self.limit).mean(axis=1)
        return Compared(worst, agreeing, (from_graph, from_network, float(beyond.max())))

    def figures(self, parts: Sequence[Compared]) -> dict[str, Any]:
        """Returns the agreement of pixels and classes, at the worst batch size."""
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
            of_graph, of_network = (mean_iou(confusion(ground_truth, side, count)) for side in parts[-1].detail[:2])
            if of_graph is not None and of_network is not None:
                figures["miou_difference"] = abs(of_graph - of_network)
        return figures

    def _maps(self, outputs: Outputs) -> np.ndarray:
        spec = self.manifest.output("class_map")
        assert spec is not None, "the manifest has been checked"
        return np.asarray(outputs[spec.name])

    def _confidence(self, outputs: Outputs) -> np.ndarray:
        spec = self.manifest.output("confidence")
        assert spec is not None, "the manifest has been checked"
        return real_values(outputs[spec.name], spec)


def confusion(ground_truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts pixels by their class in the ground truth (rows) and in the prediction (columns).

    Args:
        ground_truth, predicted: whole numbers of the same shape. Pixels whose ground truth is no class are left out;
            a prediction that is no class counts as class 0.

    Returns:
        int64 [classes, classes]
    """
    real = ground_truth.astype(np.int64).reshape(-1)
    counted = real < classes
    other = predicted.astype(np.int64).reshape(-1)[counted]
    pairs = real[counted] * classes + np.where(other < classes, other, 0)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def mean_iou(matrix: np.ndarray) -> float | None:
    """Returns the mean intersection over union of the classes that appear in either map; None where none does.

    Args:
        matrix: int [C, C], pixels by their classes in the two maps.
    """
    intersection = np.diagonal(matrix)
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - intersection
    appears = union > 0
    return float((intersection[appears] / union[appears]).mean()) if appears.any() else None
