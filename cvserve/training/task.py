"""Defines what the trainer needs of a task, and the options that the pipelines of all tasks have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from cvserve.artifact import PostprocSpec, PreprocSpec
from cvserve.data.pipelines.base import BatchPipeline

if TYPE_CHECKING:
    from cvserve.training.config import TrainConfig
    from cvserve.training.step import Trainable

Predict = Callable[[np.ndarray], dict[str, np.ndarray]]
"""A function that runs the network that is being validated: images, uint8 RGB [B, H, W, 3], to its outputs by name."""


class TrainingTask(Protocol):
    """Provides the data, network, loss and validation of one task. It is made from the settings of a training.

    defaults: the settings that differ from those of `TrainConfig`, nested like them; what a user sets goes before.
    redirects: networks that users look for under this task, but that belong to another; each with that task.
    monitor: the score that decides which epoch is kept; higher is better.
    labels: the classes. preproc, postproc: of the network, for the run directory; postproc is None where the task's
    defaults are right. dataset: what was trained on, in words. training: the batches.

    Raises:
        InvalidInput: settings or data that do not suit the task.
    """

    defaults: ClassVar[Mapping[str, Any]]
    redirects: ClassVar[Mapping[str, str]] = {}
    monitor: str
    labels: tuple[str, ...]
    preproc: PreprocSpec
    postproc: PostprocSpec | None
    dataset: str
    training: BatchPipeline[Any, Any]

    def __init__(self, config: TrainConfig) -> None: ...

    def build(self) -> Trainable:
        """Builds a new network under the current dtype policy, and its loss."""

    def validate(self, predict: Predict) -> dict[str, float]:
        """Returns the scores on the validation split, by name; the task's metric computes them."""


def training_options(config: TrainConfig) -> dict[str, Any]:
    """Returns the options of a pipeline of training batches."""
    return {
        "batch_size": config.batch_size,
        "augmentation": config.augmentation,
        "shuffle": True,
        "seed": config.seed,
        "cache_bytes": int(config.cache_gib * 2**30),
        "workers": config.workers,
    }


def validation_options(config: TrainConfig) -> dict[str, Any]:
    """Returns the options of a pipeline of validation batches; they are cached in a quarter of the memory."""
    return {
        "batch_size": config.batch_size,
        "cache_bytes": int(config.cache_gib * 2**30 / 4),
        "workers": config.workers,
    }
