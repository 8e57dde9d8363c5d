"""Converts TensorFlow Serving's ModelServerConfig (a file, or a reload request) to the models to be served."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cvserve.errors import InvalidInput, Unimplemented
from cvserve.serving.core.settings import ModelConfig, ModelSettings
from cvserve.serving.core.version_policy import All, Latest, Specific, VersionPolicy

PLATFORM = "tensorflow"
MODEL_TYPE_TENSORFLOW = 1
"""The deprecated field for the platform."""


def model_configs(
    config: Any, settings_of: Callable[[str], ModelSettings] = lambda name: ModelSettings()
) -> list[ModelConfig]:
    """Returns the models of a `tensorflow.serving.ModelServerConfig`, in its order.

    Args:
        settings_of: returns the settings of the model of that name, which are not part of the message.

    Raises:
        InvalidInput: a name twice or none, a path that is not absolute or not local, a platform that is not
            "tensorflow". Unimplemented: a custom model config.
    """
    if config.WhichOneof("config") == "custom_model_config":
        raise Unimplemented("ModelServer does not yet support custom model config.")
    listed = list(config.model_config_list.config)
    names: set[str] = set()
    for model in listed:
        if model.name in names:
            raise InvalidInput(f"Illegal to list model {model.name} multiple times in config list")
        names.add(model.name)
    return [_model(model, settings_of) for model in listed]


def _model(model: Any, settings_of: Callable[[str], ModelSettings]) -> ModelConfig:
    if not model.name:
        raise InvalidInput(f'the model at {model.base_path!r} has no name; give it one with name: "..."')
    _check_platform(model)
    return ModelConfig(
        model.name,
        base_path(model.name, model.base_path),
        _policy(model.model_version_policy),
        dict(model.version_labels),
        settings_of(model.name),
    )


def base_path(name: str, text: str) -> Path:
    """Returns the directory of a model's versions: an absolute path, or a file:// URI.

    Raises:
        InvalidInput
    """
    if "\0" in text:
        raise InvalidInput(f"model {name} has base_path={text!r}, which cannot be a path")
    scheme, separator, rest = text.partition("://")
    if separator and "/" not in scheme:
        if scheme != "file" or not rest.startswith("/"):
            raise InvalidInput(
                f"model {name} has base_path={text}, which is not on this machine; mount or copy it, and give its path"
            )
        text = rest
    if not text.startswith("/"):
        raise InvalidInput(f"Expected model {name} to have an absolute path or URI; got base_path()={text}")
    return Path(text)


def _check_platform(model: Any) -> None:
    if model.model_type:
        if model.model_platform:
            raise InvalidInput(
                "Illegal setting both ModelServerConfig::model_type (deprecated) and "
                f"ModelServerConfig::model_platform, model name is {model.name}"
            )
        if model.model_type != MODEL_TYPE_TENSORFLOW:
            raise InvalidInput(f"ModelServerConfig::model_type choice {model.model_type} not supported.")
    elif not model.model_platform:
        raise InvalidInput(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            f'ModelServerConfig::model_platform, model name is {model.name}; write model_platform: "{PLATFORM}"'
        )
    elif model.model_platform != PLATFORM:
        raise InvalidInput(f"Model {model.name} requests unsupported platform {model.model_platform}")


def _policy(policy: Any) -> VersionPolicy:
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return All()
    if choice == "specific":
        return Specific(tuple(policy.specific.versions))
    # 0 means 1 in TensorFlow Serving too.
    return Latest(max(1, policy.latest.num_versions))
