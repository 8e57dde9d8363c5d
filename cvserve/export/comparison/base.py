"""How two sets of answers to the same images are compared: one class a task, behind `comparison_of`.

`cvserve.export.parity` runs graphs and knows no task; what a difference is, and when two answers are the same, stands
here. A task joins with a class of this shape and a line in `comparison_of`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from cvserve.artifact import Manifest
from cvserve.postproc import class_scores

if TYPE_CHECKING:
    from cvserve.data.objects import Objects

Outputs = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Compared:
    """The outcome for N images. differences: float [N], held against the limit. agreeing: bool [N], the same answer
    in the task's own metric. detail: what the comparison's own `figures` are made of."""

    differences: np.ndarray
    agreeing: np.ndarray
    detail: Any = None


class Comparison(Protocol):
    """Of one task.

    what: whose difference it is, as an error's sentence says it. limit: of the differences.
    """

    @property
    def manifest(self) -> Manifest: ...

    @property
    def what(self) -> str: ...

    @property
    def limit(self) -> float: ...

    def compare(self, got: Outputs, wanted: Outputs) -> Compared:
        """Outputs [N, ...] by name of a graph and of the network."""

    def figures(self, parts: Sequence[Compared]) -> dict[str, Any]:
        """The task's own fields of `Parity`. parts: what was compared; the last one holds every image."""


@dataclass(frozen=True)
class ClassComparison:
    """Of classification: probabilities, and the best class."""

    manifest: Manifest
    limit: float
    what: str = "a probability"

    def compare(self, got: Outputs, wanted: Outputs) -> Compared:
        mine, theirs = class_scores(got, self.manifest), class_scores(wanted, self.manifest)
        same = np.asarray(mine.argmax(axis=1) == theirs.argmax(axis=1))
        return Compared(np.abs(mine - theirs).max(axis=1), same)

    def figures(self, parts: Sequence[Compared]) -> dict[str, Any]:
        return {}


def comparison_of(
    manifest: Manifest,
    *,
    tolerance: float,
    ground_truth: Sequence[Objects] | Sequence[np.ndarray] | None = None,
    ties: bool = False,
) -> Comparison:
    """Returns how a graph is compared with the network.

    Args:
        tolerance: the largest difference that is allowed, see `ExportTarget.tolerance`.
        ground_truth: of detection, the objects of each image in pixels of the graph's input, for the difference in
            mAP; of segmentation, its label map in the size of the graph's input, for the difference in mIoU.
        ties: whether the last digit decides inside of the network, see `Network.ties`.
    """
    from cvserve.export.comparison.captioning import CaptionComparison
    from cvserve.export.comparison.detection import DetectionComparison, Tolerance, in_order
    from cvserve.export.comparison.segmentation import TIED_PIXELS, SegmentationComparison

    if manifest.task == "classification":
        return ClassComparison(manifest, tolerance)
    if manifest.task == "detection":
        of_objects = Tolerance(score=max(Tolerance.score, tolerance))
        limit = tolerance if in_order(manifest) else of_objects.score
        return DetectionComparison(manifest, limit, of_objects, cast("Sequence[Objects] | None", ground_truth))
    if manifest.task == "segmentation":
        maps = cast("Sequence[np.ndarray] | None", ground_truth)
        return SegmentationComparison(manifest, tolerance, tied=TIED_PIXELS if ties else 0.0, ground_truth=maps)
    return CaptionComparison(manifest, tolerance)


def encoded_comparison(manifest: Manifest, *, ties: bool = False) -> Comparison:
    """How the signature of encoded images is compared. ties: as of `comparison_of`.

    The pixels differ by a rounding at most, which a network hardly amplifies; beyond these limits something is wrong.
    """
    from cvserve.export.comparison.captioning import CaptionComparison
    from cvserve.export.comparison.detection import ROUNDED_PIXELS, DetectionComparison
    from cvserve.export.comparison.segmentation import TIED_PIXELS, SegmentationComparison

    if manifest.task == "detection":
        return DetectionComparison(manifest, limit=0.25, tolerance=ROUNDED_PIXELS)
    if manifest.task == "segmentation":
        # Along the borders of classes, and all over a network that has not learned yet, a rounding decides.
        return SegmentationComparison(manifest, limit=0.25, pixel_limit=None, tied=TIED_PIXELS if ties else 0.0)
    if manifest.task == "captioning":
        # A rounding may decide between two words; the rest of the sentence then is another one.
        return CaptionComparison(manifest, limit=0.25, agreement_limit=None)
    return ClassComparison(manifest, 0.05)
