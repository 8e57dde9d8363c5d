"""Which model is served from where: what a settings file, a repository or a reload request comes down to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cvserve.errors import InvalidInput
from cvserve.serving.core.settings import ModelSettings
from cvserve.serving.core.version_policy import All, Latest, Specific, VersionPolicy

__all__ = ["All", "Latest", "ModelConfig", "Specific", "VersionPolicy", "check_list"]


@dataclass(frozen=True)
class ModelConfig:
    """One model.

    name: what requests call it. base_path: the directory of its versions. policy: which of them are served.
    labels: names for versions, which requests may use instead of numbers. settings: how it runs.
    """

    name: str
    base_path: Path
    policy: VersionPolicy = field(default_factory=Latest)
    labels: Mapping[str, int] = field(default_factory=dict)
    settings: ModelSettings = field(default_factory=ModelSettings)


def check_list(configs: Sequence[ModelConfig]) -> None:
    """Checks what a list of models must be in itself.

    Raises:
        InvalidInput: no name, a name twice, a relative path; in TensorFlow Serving's words.
    """
    names: set[str] = set()
    for config in configs:
        if not config.name:
            raise InvalidInput("a model in the list has no name")
        if config.name in names:
            raise InvalidInput(f"Illegal to list model {config.name} multiple times in config list")
        names.add(config.name)
        if not config.base_path.is_absolute():
            raise InvalidInput(
                f"Expected model {config.name} to have an absolute path or URI; got base_path()={config.base_path}"
            )
