"""Everything that a training can be told, with its defaults; written into the run directory as it was used."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from cvserve.artifact import Task
from cvserve.artifact.specs import Spec
from cvserve.data.augment.augment import Augmentation
from cvserve.data.pipelines.captioning import AUGMENTATION
from cvserve.settings import parse, read_yaml, with_overrides


class OptimizerConfig(Spec):
    """name: "sgd" with Nesterov momentum, or "adamw".

    weight_decay: decoupled (Loshchilov & Hutter 2017, arXiv 1711.05101): every step multiplies the convolution and
    dense kernels by 1 - learning_rate * weight_decay; biases and normalisation are left alone. Under SGD with
    momentum 0.9 a decoupled decay of 0.005 acts like an L2 penalty of 0.0005.
    clip_norm: global norm that gradients are clipped to (tf.clip_by_global_norm), None for no clipping.
    """

    name: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = Field(default=0.05, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=0.005, ge=0)
    clip_norm: float | None = Field(default=None, gt=0)


class ScheduleConfig(Spec):
    """The learning rate over time, after a linear warm-up of `warmup_epochs`.

    "cosine" falls to `final_share` of the peak along half a cosine; "step" is multiplied by `factor` at each of
    `milestones` (shares of the training, 0 to 1); "constant" stays.
    """

    name: Literal["cosine", "step", "constant"] = "cosine"
    warmup_epochs: float = Field(default=3.0, ge=0)
    final_share: float = Field(default=0.0, ge=0, le=1)
    milestones: tuple[float, ...] = (0.5, 0.75)
    factor: float = Field(default=0.1, gt=0, le=1)


ClassWeights = Literal["none", "median_frequency", "logarithm"] | tuple[float, ...]
"""See `cvserve.training.class_weights`."""
SegmentationLoss = Literal["cross_entropy", "focal", "dice", "lovasz"]
"""See `cvserve.models.segmentation.losses`."""


class SegmentationConfig(Spec):
    """What a segmenter learns from.

    losses: "cross_entropy", "focal", "dice" or "lovasz", each with its weight in the sum. Cross-entropy makes most
    pixels right; dice and Lovász-softmax count every class alike, as mIoU does; Lovász takes long on CPUs.
    class_weights: what a pixel of each class counts in cross-entropy and focal loss: "none", "median_frequency" or
    "logarithm" (rare classes count more, the latter mildly), or a number for each class in label order.
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


OF_INSTANCES = ("mask_rcnn",)
"""Networks that are asked for as segmentation too. What they find are objects with boxes and masks: their task is
detection, in the run and in the manifest."""

VocabularyKind = Literal["words", "subwords"]
CaptionScore = Literal["cider_d", "bleu4", "exact"]


class VocabularyConfig(Spec):
    """The vocabulary that is learned from the training captions; see `cvserve.text.learn_vocabulary`."""

    kind: VocabularyKind = "words"
    min_count: int = Field(default=5, ge=1)
    size: int = Field(default=10_000, ge=5)
    length: int | None = Field(default=None, ge=3, le=1024)


class CaptioningConfig(Spec):
    """What a captioner learns from.

    captions: of each image an epoch shows one "drawn" by chance, its "first", or "all".
    monitor: the score on the validation split that decides which epoch is kept: "cider_d", "bleu4" or "exact".
    attention_penalty: of networks that attend, weight of (1 - sum_t alpha_ti)^2, mean over the places i: every place is
    to be looked at (doubly stochastic attention, Xu et al. 2015, arXiv 1502.03044, equation 14).
    freeze_epochs: how long the backbone stays as it is, its normalisation included. backbone_rate: the share of the
    learning rate that it has afterwards.
    """

    vocabulary: VocabularyConfig = VocabularyConfig()
    captions: Literal["drawn", "first", "all"] = "drawn"
    monitor: CaptionScore = "cider_d"
    attention_penalty: float = Field(default=0.0, ge=0)
    freeze_epochs: float = Field(default=0.0, ge=0)
    backbone_rate: float = Field(default=1.0, ge=0, le=1)


# What a task takes where nothing else is said, unlike the defaults of TrainConfig, which suit classification.
_OF_TASK: dict[str, dict[str, Any]] = {
    "detection": {
        "model": "yolo",
        "resize": "letterbox",
        "batch_size": 8,
        "optimizer": {"name": "adamw", "learning_rate": 0.002, "weight_decay": 0.05, "clip_norm": 10.0},
        "label_smoothing": 0.0,
    },
    "segmentation": {
        "model": "unet",
        "resize": "letterbox",
        "batch_size": 8,
        "optimizer": {"name": "adamw", "learning_rate": 0.002, "weight_decay": 0.05, "clip_norm": 10.0},
        "label_smoothing": 0.0,
    },
    "captioning": {
        "model": "show_attend_tell",
        "resize": "letterbox",
        "optimizer": {"name": "adamw", "learning_rate": 0.002, "weight_decay": 0.05, "clip_norm": 5.0},
        # Captions say left and right, and name what must be seen: cvserve.data.pipelines.captioning.AUGMENTATION.
        "augmentation": AUGMENTATION.model_dump(),
    },
}


class TrainConfig(Spec):
    """A training. What is not said is as the task wants it: the defaults here are those of classification.

    data: a folder of images, or generated scenes ("scenes"). image_size: side in pixels, or (height, width), None for
    the model's own.
    minutes: after which training ends, None for no limit: after each epoch the number of epochs is set to what fits, at
    most `epochs`, and the schedule follows it, warming up for a quarter of them at most. What comes out then depends on
    the machine and on what else it does.
    precision: "bfloat16" computes in it and keeps the weights in float32; about 1.2 to 1.4 times faster on CPUs with
    AVX512-BF16, slow on others. average_decay: of the running mean of the weights that is validated and kept (Polyak
    averaging), 0 for none. segmentation, captioning: of these tasks alone. patience: epochs without a better score
    after which training stops, None for never. workers: threads that decode and augment.
    """

    task: Task = "classification"
    model: str = "resnet18"
    model_options: dict[str, Any] = {}
    weights: str | None = None
    data: str
    image_size: int | tuple[int, int] | None = None
    resize: Literal["short_side", "exact", "letterbox"] = "short_side"
    epochs: int = Field(default=40, ge=1)
    minutes: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    batch_size: int = Field(default=32, ge=1)
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    augmentation: Augmentation = Augmentation()
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    segmentation: SegmentationConfig = SegmentationConfig()
    captioning: CaptioningConfig = CaptioningConfig()
    average_decay: float = Field(default=0.995, ge=0, lt=1)
    precision: Literal["float32", "bfloat16"] = "float32"
    patience: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)
    workers: int = Field(default=2, ge=1)
    cache_gib: float = Field(default=2.0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _as_the_task_wants(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        if values.get("task") == "segmentation" and values.get("model") in OF_INSTANCES:
            values = {**values, "task": "detection"}
        return _merge(_OF_TASK.get(str(values.get("task")), {}), values)

    @field_validator("image_size")
    @classmethod
    def _sensible_size(cls, size: int | tuple[int, int] | None) -> int | tuple[int, int] | None:
        for side in (size,) if isinstance(size, int) else size or ():
            if not 8 <= side <= 2048:
                raise ValueError(f"a side must be from 8 to 2048 pixels, not {side}")
        return size

    @field_validator("data", mode="before")
    @classmethod
    def _path_to_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, Path) else value

    @field_validator("model_options")
    @classmethod
    def _not_the_trainings_own(cls, options: dict[str, Any]) -> dict[str, Any]:
        decided = sorted(
            {"task", "name", "num_classes", "num_tokens", "length", "image_size", "weights"} & options.keys()
        )
        if decided:
            raise ValueError(f"{decided[0]} is no option of the model: the data or a setting of its own decides it")
        return options

    @classmethod
    def load(cls, path: str | Path | None, overrides: dict[str, Any] | list[str] | None = None) -> TrainConfig:
        """Reads a YAML file (none: only defaults) and applies overrides.

        Args:
            overrides: nested values, or texts such as "optimizer.learning_rate=0.1".

        Raises:
            NotFound, InvalidInput
        """
        values = read_yaml(path) if path is not None else {}
        if isinstance(overrides, list):
            values = with_overrides(values, overrides)
        elif overrides:
            values = _merge(values, overrides)
        return parse(cls, values, str(path) if path is not None else "the training settings")

    def dump(self) -> str:
        """The configuration as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def _merge(values: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, value in overrides.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
