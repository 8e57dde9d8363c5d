"""Defines the settings of a training, with their defaults. The run directory keeps the values that were used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from cvserve.artifact import Task
from cvserve.artifact.specs import Spec
from cvserve.data.augment.augment import Augmentation
from cvserve.settings import parse, read_yaml, with_overrides
from cvserve.training.captioning_config import CaptioningConfig
from cvserve.training.optimizer_config import OptimizerConfig, ScheduleConfig
from cvserve.training.segmentation_config import SegmentationConfig
from cvserve.training.tasks import TASKS


class TrainConfig(Spec):
    """Holds the settings of a training.

    The defaults here are those of classification; the other tasks have some of their own, see
    `cvserve.training.tasks`.

    task: one of `cvserve.training.tasks.TASKS`. model: one of `cvserve models`. model_options: what the model's builder
    takes beside. weights: "imagenet", a file, or None to start from random weights.
    data: a folder of images, or generated scenes ("scenes"). image_size: side in pixels, or (height, width); None for
    the model's own size. resize: how images are brought to that size.
    epochs, batch_size: how many passes over the training images, and how many images a step.
    minutes: the time limit of the training; None for no limit. After each epoch the number of epochs is set to what
    fits, at most `epochs`, and the schedule follows it, with a warm-up of a quarter of them at most. The result then
    depends on the speed of the machine.
    label_smoothing: the fraction of the targets that is spread over all classes, 0 for none.
    segmentation, captioning: settings that only these tasks have.
    average_decay: of the running mean of the weights that is validated and kept (Polyak averaging), 0 for none.
    precision: "bfloat16" computes in it and keeps the weights in float32; about 1.2 to 1.4 times faster on CPUs with
    AVX512-BF16, slow on others.
    patience: training stops after this many epochs without a better score; None for never.
    workers: threads that decode and augment. cache_gib: memory for decoded images.

    Example:
        >>> config = TrainConfig(task="detection", data="photos", optimizer={"learning_rate": 0.001})
        >>> config.model, config.optimizer.name, config.optimizer.learning_rate
        ('yolo', 'adamw', 0.001)
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
    def _defaults_of_the_task(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        task = values.get("task")
        if not isinstance(task, str) or task not in TASKS:
            return values  # the validation of the field names the fault
        redirected = TASKS[task].redirects.get(str(values.get("model")))
        if redirected is not None:
            task, values = redirected, {**values, "task": redirected}
        return _merge(TASKS[task].defaults, values)

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
    def _not_decided_elsewhere(cls, options: dict[str, Any]) -> dict[str, Any]:
        decided = sorted(
            {"task", "name", "num_classes", "num_tokens", "length", "image_size", "weights"} & options.keys()
        )
        if decided:
            raise ValueError(f"{decided[0]} is not an option of the model: the data or another setting decides it")
        return options

    @classmethod
    def load(cls, path: str | Path | None, overrides: dict[str, Any] | list[str] | None = None) -> TrainConfig:
        """Reads a YAML file and applies overrides.

        Args:
            path: of the file; None takes the defaults.
            overrides: nested values, or texts such as "optimizer.learning_rate=0.1".

        Raises:
            NotFound: there is no such file. InvalidInput: a setting that does not fit.
        """
        values = read_yaml(path) if path is not None else {}
        if isinstance(overrides, list):
            values = with_overrides(values, overrides)
        elif overrides:
            values = _merge(values, overrides)
        return parse(cls, values, str(path) if path is not None else "the training settings")

    def dump(self) -> str:
        """Returns the settings as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def _merge(values: Mapping[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, value in overrides.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
