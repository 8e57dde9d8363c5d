"""Exports segmentation networks: the class of every pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cvserve.artifact import (
    Manifest,
    OutputSpec,
    Parity,
    PostprocSpec,
    PreprocSpec,
    SegmentationParity,
    SegmentationPostproc,
)
from cvserve.errors import InvalidInput
from cvserve.export.checks import need_outputs
from cvserve.export.comparison.base import Comparison
from cvserve.export.comparison.segmentation import TIED_PIXELS, SegmentationComparison
from cvserve.export.task_export import TaskExport, fraction, small
from cvserve.preproc import Geometry

_ENCODED_LIMIT = 0.25

PIXEL_COLUMNS = ("pixels", "mIoU", "mIoU differs")
"""Fraction of pixels of the same class, mIoU of the graph's maps with the network's, how much their mIoU with the
ground truth differs."""


class SegmentationExport(TaskExport):
    """Exports networks for semantic segmentation."""

    task = "segmentation"

    def check_outputs(
        self,
        outputs: Sequence[OutputSpec],
        answers: Mapping[str, np.ndarray],
        labels: Sequence[str],
        postproc: PostprocSpec | None,
    ) -> None:
        """Checks that the class map is uint8 and its classes have labels."""
        name = need_outputs(self.task, outputs, "class_map", "confidence")["class_map"].name
        class_map = answers[name]
        if class_map.dtype != np.uint8:
            raise InvalidInput(f"a class map has one byte a pixel, but {name!r} is {class_map.dtype}")
        if class_map.max() >= len(labels):
            raise InvalidInput(f"{len(labels)} labels do not fit a network that answers with class {class_map.max()}")

    def dataset_postproc(self, dataset: Any) -> PostprocSpec:
        """Returns a postproc with the dataset's colours."""
        return SegmentationPostproc(colors=dataset.colors)

    def ground_truth(self, dataset: Any, index: int, geometry: Geometry, preproc: PreprocSpec) -> np.ndarray:
        """Returns the label map, uint8 [H, W], in the size of the graph's input: for each pixel the label where its
        centre lies, VOID where that is padding."""
        from cvserve.data.masks import VOID

        mask: np.ndarray = dataset.mask(index)
        labels = np.full((preproc.height, preproc.width), VOID, np.uint8)
        at = [
            np.floor((np.arange(length) + 0.5 - offset) / scale).astype(int)
            for length, scale, offset in (
                (preproc.height, geometry.scale_y, geometry.offset_y),
                (preproc.width, geometry.scale_x, geometry.offset_x),
            )
        ]
        rows, columns = (
            np.flatnonzero((places >= 0) & (places < size)) for places, size in zip(at, mask.shape, strict=True)
        )
        labels[np.ix_(rows, columns)] = mask[np.ix_(at[0][rows], at[1][columns])]
        return labels

    def comparison(
        self, manifest: Manifest, tolerance: float, *, ground_truth: Sequence[Any] | None = None, ties: bool = False
    ) -> Comparison:
        """Compares the class maps and the confidence."""
        return SegmentationComparison(manifest, tolerance, tied=TIED_PIXELS if ties else 0.0, ground_truth=ground_truth)

    def encoded_comparison(self, manifest: Manifest, *, ties: bool = False) -> Comparison:
        """Compares the confidence where the classes are the same."""
        # Along the borders of classes, and all over a network that has not learned yet, a rounding decides.
        return SegmentationComparison(
            manifest, limit=_ENCODED_LIMIT, pixel_limit=None, tied=TIED_PIXELS if ties else 0.0
        )

    def report_columns(self, manifest: Manifest) -> tuple[str, ...]:
        """Returns the columns of pixels."""
        return PIXEL_COLUMNS

    def report_figures(self, parity: Parity, manifest: Manifest) -> list[Any]:
        """Returns the figures of pixels."""
        assert isinstance(parity, SegmentationParity)
        return [fraction(parity.pixel_agreement), fraction(parity.miou), small(parity.miou_difference)]


EXPORT = SegmentationExport()
