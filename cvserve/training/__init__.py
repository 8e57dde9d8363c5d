"""From a dataset and a configuration to a run directory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cvserve.training.config import TrainConfig

if TYPE_CHECKING:
    from cvserve.training.trainer import train

__all__ = ["TrainConfig", "train"]


def __getattr__(name: str) -> Any:
    if name == "train":
        from cvserve.training.trainer import train

        return train
    raise AttributeError(f"module 'cvserve.training' has no attribute {name!r}")
