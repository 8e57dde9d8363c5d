"""Defines detection's part of the manifest: boxes of objects, and masks where the network has them (instances)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cvserve.artifact.boxes import BoxCoding
from cvserve.artifact.task_spec import Parity, PostprocSpec, TaskSpec, need_labels, need_outputs

if TYPE_CHECKING:
    from cvserve.artifact.manifest import Manifest


class DetectionPostproc(PostprocSpec):
    """Turns box offsets and class logits into objects.

    activation: makes scores of logits: "sigmoid" (a score for each class) or "softmax" (over background, which is
    first, and the classes). An output of role "objectness" [B, A] then multiplies them by its sigmoid.
    boxes: how the outputs become boxes. An output of role "masks" [B, N, R, R] beside those of its kind "boxes" holds
    how likely each of the R x R cells of each box belongs to the object, 0 to 1.
    score_threshold: boxes with a lower score are left out. iou_threshold: of two boxes of one class that overlap more,
    the better one stays. max_candidates: how many boxes an image take part in this. max_results: how many are given.
    """

    task: Literal["detection"] = "detection"
    activation: Literal["none", "softmax", "sigmoid"] = "none"
    boxes: BoxCoding
    score_threshold: float = Field(default=0.25, ge=0, le=1)
    iou_threshold: float = Field(default=0.6, gt=0, le=1)
    max_candidates: int = Field(default=1000, gt=0)
    max_results: int = Field(default=100, gt=0)


class DetectionParity(Parity):
    """Compares objects, after decoding and suppression.

    max_abs_difference: relative to the output's own size; of two-stage networks, whose boxes may come in another order,
    the largest difference of a matched object's score. An image agrees that has the same objects.

    objects: how many the network found. unmatched: the share of the objects of both that have no partner in the other.
    unmatched_limit: the largest share that is allowed. box_iou, box_iou_min: mean and least intersection over union of
    matched boxes. score_difference: the largest of a matched object. map_difference: between the mean average
    precision (COCO's) of both, where the ground truth was known. mask_iou, mask_iou_min: mean and least intersection
    over union of matched objects' masks, where they have some.
    """

    task: Literal["detection"] = "detection"
    objects: int | None = None
    unmatched: float | None = None
    unmatched_limit: float | None = None
    box_iou: float | None = None
    box_iou_min: float | None = None
    score_difference: float | None = None
    map_difference: float | None = None
    mask_iou: float | None = None
    mask_iou_min: float | None = None

    @property
    def fault(self) -> str | None:
        """Returns why the graph does not answer as the network does, or None when it does."""
        if self.unmatched is not None and self.unmatched_limit is not None and self.unmatched > self.unmatched_limit:
            share, limit = f"{self.unmatched:.1%}", f"{self.unmatched_limit:.0%}"
            return f"{share} of the objects have no partner among the network's (limit {limit})"
        return super().fault

    def describe(self) -> list[str]:
        """Returns how many objects there were, how well they overlap and how many have no partner."""
        if self.objects is None or self.unmatched is None:
            return []
        texts = [f"{self.objects} objects"]
        if self.box_iou is not None:
            texts.append(f"IoU {self.box_iou:.4f}")
        texts.append(f"{self.unmatched:.1%} unmatched")
        if self.map_difference is not None:
            texts.append(f"mAP differs by {self.map_difference:.1e}")
        return texts


def _check(manifest: Manifest) -> None:
    need_labels(manifest)
    postproc = DetectionPostproc.of(manifest)
    suppressed = postproc.boxes.kind == "boxes"
    if postproc.activation == "none" and not suppressed:
        raise ValueError("a detection model needs sigmoid or softmax as postproc.activation")
    if suppressed:
        need_outputs(manifest, "boxes", "scores", "classes")
    else:
        need_outputs(manifest, "box_offsets", "class_logits", *([] if postproc.boxes.levels else ["proposals"]))
    if manifest.has_masks and not suppressed:
        raise ValueError("masks are of boxes that the graph has suppressed: postproc.boxes must be of kind 'boxes'")
    logits = manifest.output("class_logits")
    classes = len(manifest.labels) + (postproc.activation == "softmax")
    if logits is not None and logits.shape and logits.shape[-1] not in (None, classes):
        raise ValueError(f"{len(manifest.labels)} labels do not fit the {logits.shape[-1]} scores of {logits.name!r}")


SPEC = TaskSpec(DetectionPostproc, DetectionParity, _check)
