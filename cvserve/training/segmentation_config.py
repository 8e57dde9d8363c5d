"""Defines the settings of training that only segmenters have."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from cvserve.artifact.specs import Spec

ClassWeights = Literal["none", "median_frequency", "logarithm"] | tuple[float, ...]
"""How much a pixel of each class counts; see `cvserve.training.class_weights`."""
SegmentationLoss = Literal["cross_entropy", "focal", "dice", "lovasz"]
"""Names of losses; see `cvserve.models.segmentation.losses`."""


class SegmentationConfig(Spec):
    """Holds the settings that only segmenters have.

    losses: "cross_entropy", "focal", "dice" or "lovasz", each with its weight in the sum. Cross-entropy makes most
    pixels right; dice and Lovász-softmax weigh all classes equally, as mIoU does; Lovász-softmax is slow on CPUs.
    class_weights: how much a pixel of each class counts in cross-entropy and focal loss: "none", "median_frequency" or
    "logarithm" (rare classes count more, with the latter a little more), or a number for each class in label order.
    focal_gamma: exponent of the focal loss.
    """

    losses: dict[SegmentationLoss, float] = {"cross_entropy": 1.0}
    class_weights: ClassWeights = "none"
    focal_gamma: float = Field(default=2.0, ge=0)

    @field_validator("losses")
    @classmethod
    def _some_loss(cls, losses: dict[str, float]) -> dict[str, float]:
        if not losses or any(weight <= 0 for weight in losses.values()):
            raise ValueError("it must name one loss or more, each with a weight above 0")
        return losses

    @field_validator("class_weights")
    @classmethod
    def _weights_not_negative(cls, weights: Any) -> Any:
        if not isinstance(weights, str) and (min(weights, default=0.0) < 0 or not any(weights)):
            raise ValueError("numbers must not be below 0, nor all 0")
        return weights
