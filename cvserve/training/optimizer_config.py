"""Defines the settings of the optimiser and of the learning rate."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cvserve.artifact.specs import Spec


class OptimizerConfig(Spec):
    """Holds the settings of the optimiser.

    name: "sgd" with Nesterov momentum, or "adamw".
    weight_decay: decoupled (Loshchilov & Hutter 2017, arXiv 1711.05101): every step multiplies the convolution and
    dense kernels by 1 - learning_rate * weight_decay; biases and normalisation do not decay. Under SGD with
    momentum 0.9 a decoupled decay of 0.005 acts like an L2 penalty of 0.0005.
    clip_norm: the global norm that gradients are clipped to (tf.clip_by_global_norm); None for no clipping.
    """

    name: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = Field(default=0.05, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=0.005, ge=0)
    clip_norm: float | None = Field(default=None, gt=0)


class ScheduleConfig(Spec):
    """Holds how the learning rate changes after a linear warm-up of `warmup_epochs`.

    "cosine" falls to `final_share` of the peak along half a cosine; "step" is multiplied by `factor` at each of
    `milestones` (fractions of the training, 0 to 1); "constant" does not change.
    """

    name: Literal["cosine", "step", "constant"] = "cosine"
    warmup_epochs: float = Field(default=3.0, ge=0)
    final_share: float = Field(default=0.0, ge=0, le=1)
    milestones: tuple[float, ...] = (0.5, 0.75)
    factor: float = Field(default=0.1, gt=0, le=1)
