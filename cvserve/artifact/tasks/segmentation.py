"""Defines segmentation's part of the manifest: the class of every pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import AliasChoices, Field

from cvserve.artifact.task_spec import Parity, PostprocSpec, TaskSpec, need_labels, need_outputs

if TYPE_CHECKING:
    from cvserve.artifact.manifest import Manifest


class SegmentationPostproc(PostprocSpec):
    """Holds the colours of the classes.

    colors: the RGB in which each class is drawn, in label order; empty: the drawing chooses them.
    """

    task: Literal["segmentation"] = "segmentation"
    colors: tuple[tuple[int, int, int], ...] = Field(default=(), validation_alias=AliasChoices("colors", "colours"))


class SegmentationParity(Parity):
    """Compares class maps.

    max_abs_difference: of the confidence, where both have the same class. An image agrees whose pixels do.

    pixel_agreement: the share of pixels with the same class. pixel_agreement_limit: the least share that is allowed.
    miou: mean intersection over union of the two class maps. miou_difference: between the mIoU of both with the ground
    truth, where that was known. beyond: of networks in which ties decide (max unpooling), the share of the worst
    image's pixels whose confidence is farther off than limit. beyond_limit: the share of pixels that
    max_abs_difference leaves out for that reason.
    """

    task: Literal["segmentation"] = "segmentation"
    pixel_agreement: float | None = None
    pixel_agreement_limit: float | None = None
    miou: float | None = None
    miou_difference: float | None = None
    beyond: float | None = None
    beyond_limit: float | None = None

    @property
    def fault(self) -> str | None:
        """Returns why the graph does not answer as the network does, or None when it does."""
        least, same = self.pixel_agreement_limit, self.pixel_agreement
        if least is not None and same is not None and same < least:
            return f"{1 - same:.2%} of the pixels have another class than the network's (limit {1 - least:.1%})"
        return super().fault

    def describe(self) -> list[str]:
        """Returns the share of equal pixels and the mIoU of both."""
        if self.pixel_agreement is None or self.miou is None:
            return []
        texts = [f"{self.pixel_agreement:.3%} of pixels", f"mIoU {self.miou:.4f}"]
        if self.miou_difference is not None:
            texts.append(f"with the ground truth differs by {self.miou_difference:.1e}")
        return texts


def _check(manifest: Manifest) -> None:
    need_labels(manifest)
    labels, colors = len(manifest.labels), len(SegmentationPostproc.of(manifest).colors)
    if labels > 255:
        raise ValueError(f"a class map has one byte a pixel, which is too little for {labels} labels")
    need_outputs(manifest, "class_map", "confidence")
    if colors and colors != labels:
        raise ValueError(f"{colors} colours do not fit {labels} labels")


SPEC = TaskSpec(SegmentationPostproc, SegmentationParity, _check)
