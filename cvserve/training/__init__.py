"""Trains a network on a data set and leaves a run directory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cvserve.training.config import TrainConfig
    from cvserve.training.tasks import TASKS
    from cvserve.training.trainer import train

__all__ = ["TASKS", "TrainConfig", "train"]


def __getattr__(name: str) -> Any:
    # At the first use: `cvserve train --help` only needs TASKS, and settings are checked without TensorFlow.
    if name == "train":
        from cvserve.training.trainer import train

        return train
    if name == "TrainConfig":
        from cvserve.training.config import TrainConfig

        return TrainConfig
    if name == "TASKS":
        from cvserve.training.tasks import TASKS

        return TASKS
    raise AttributeError(f"module 'cvserve.training' has no attribute {name!r}")
