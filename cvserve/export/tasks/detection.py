"""Exports detectors: boxes, and the signature that decodes and suppresses them in the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cvserve.artifact import (
    DetectionParity,
    DetectionPostproc,
    DetectSignature,
    Manifest,
    OutputSpec,
    Parity,
    PostprocSpec,
    PreprocSpec,
    file_entry,
)
from cvserve.errors import InvalidInput
from cvserve.export.comparison.base import Comparison
from cvserve.export.comparison.detection import (
    ROUNDED_PIXELS,
    DetectionComparison,
    SignatureComparison,
    Tolerance,
    in_order,
)
from cvserve.export.detect_signature import DETECT_SIGNATURE, detect_function
from cvserve.export.network import Network
from cvserve.export.parity import ParityImages, check_parity
from cvserve.export.task_export import TaskExport, fraction, small
from cvserve.export.writing import WrittenGraph
from cvserve.preproc import Geometry
from cvserve.runtimes import Runtime

if TYPE_CHECKING:
    from cvserve.data.objects import Objects

_ENCODED_LIMIT = 0.25

BOX_COLUMNS = ("box IoU", "least", "score", "unmatched", "mAP")
"""Mean and least IoU of matched boxes, largest difference of their scores, fraction of objects without a partner,
difference in mAP."""

MASK_COLUMNS = ("mask IoU", "least mask")
"""Of detection with masks: mean and least IoU of matched objects' masks."""


class DetectionExport(TaskExport):
    """Exports detectors, with masks or without."""

    task = "detection"

    def check_outputs(
        self,
        outputs: Sequence[OutputSpec],
        answers: Mapping[str, np.ndarray],
        labels: Sequence[str],
        postproc: PostprocSpec | None,
    ) -> None:
        """Checks that a postproc is given: the outputs do not say how they become boxes."""
        if postproc is None:
            raise InvalidInput(
                "a detection model needs postproc, which says how its outputs become boxes (postproc.boxes)"
            )

    def ground_truth(self, dataset: Any, index: int, geometry: Geometry, preproc: PreprocSpec) -> Objects:
        """Returns the image's objects in pixels of the graph's input."""
        objects: Objects = dataset.objects(index)
        return replace(
            objects,
            boxes=geometry.to_input(objects.boxes),
            areas=(objects.areas * geometry.scale_x * geometry.scale_y).astype(np.float32),
        )

    def comparison(
        self, manifest: Manifest, tolerance: float, *, ground_truth: Sequence[Any] | None = None, ties: bool = False
    ) -> DetectionComparison:
        """Compares the raw outputs where their order is fixed, and the objects."""
        of_objects = Tolerance(score=max(Tolerance.score, tolerance))
        limit = tolerance if in_order(manifest) else of_objects.score
        return DetectionComparison(manifest, limit, of_objects, ground_truth)

    def encoded_comparison(self, manifest: Manifest, *, ties: bool = False) -> Comparison:
        """Compares the objects, some of which a rounding may move or remove."""
        return DetectionComparison(manifest, limit=_ENCODED_LIMIT, tolerance=ROUNDED_PIXELS)

    def extra_signatures(self, network: Network, manifest: Manifest, *, detect: bool, steps: bool) -> dict[str, Any]:
        """Returns the signature `detect`, except for networks that suppress boxes themselves."""
        suppressed = DetectionPostproc.of(manifest).boxes.kind == "boxes"
        return {DETECT_SIGNATURE: detect_function(network, manifest)} if detect and not suppressed else {}

    def check_signatures(
        self, graph: WrittenGraph, runtime: Runtime, directory: Path, images: ParityImages, comparison: Comparison
    ) -> dict[str, Any]:
        """Compares the signature `detect` with what `postproc` finds in the network's outputs."""
        if DETECT_SIGNATURE not in graph.signatures:
            return {}
        of_objects = self.comparison(comparison.manifest, graph.target.tolerance).tolerance
        signature = graph.open_signature(DETECT_SIGNATURE, runtime)
        try:
            parity = check_parity(
                signature,
                images,
                SignatureComparison(comparison.manifest, of_objects),
                what=f"the signature detect of the exported {graph.target.name} graph",
            )
        finally:
            signature.close()
        path = graph.written.signature_files.get(DETECT_SIGNATURE)
        return {"detect": DetectSignature(file=None if path is None else file_entry(directory, path), parity=parity)}

    def report_columns(self, manifest: Manifest) -> tuple[str, ...]:
        """Returns the columns of boxes, and of masks where there are some."""
        return (*BOX_COLUMNS, *(MASK_COLUMNS if manifest.has_masks else ()))

    def report_figures(self, parity: Parity, manifest: Manifest) -> list[Any]:
        """Returns the figures of boxes, and of masks where there are some."""
        assert isinstance(parity, DetectionParity)
        figures = [
            fraction(parity.box_iou),
            fraction(parity.box_iou_min),
            small(parity.score_difference),
            None if parity.unmatched is None else f"{parity.unmatched:.2%}",
            small(parity.map_difference),
        ]
        masks = [fraction(parity.mask_iou), fraction(parity.mask_iou_min)]
        return [*figures, *masks] if manifest.has_masks else figures


EXPORT = DetectionExport()
