"""Decides how a version runs from the files in its directory, as tensorflow_model_server does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cvserve.protos.model_server_pb2 import BatchingParameters
from cvserve.serving.core.loaded_model import LoadedModel
from cvserve.serving.core.settings import ModelSettings
from cvserve.serving.protocols.tensorflow_serving.model_server.batching import FILE_NAME, UNBATCHED, batching_settings
from cvserve.serving.protocols.tensorflow_serving.model_server.flags import Flags
from cvserve.serving.protocols.tensorflow_serving.model_server.text_proto import read_text_proto
from cvserve.settings import parse

TFLITE_FILE = "model.tflite"


def loader(
    flags: Flags, load: Callable[[Path, ModelSettings], LoadedModel]
) -> Callable[[Path, ModelSettings], LoadedModel]:
    """Returns the `load_model` of a server with these flags, which opens a version with `load`."""

    def load_version(directory: Path, settings: ModelSettings) -> LoadedModel:
        return load(directory, version_settings(flags, directory, settings))

    return load_version


def version_settings(flags: Flags, directory: Path, settings: ModelSettings) -> ModelSettings:
    """Returns the settings of one version.

    Raises:
        InvalidInput: batching_params.pbtxt cannot be read, or has a value that does not fit.
    """
    changes: dict[str, Any] = {}
    if flags.prefer_tflite_model and (directory / TFLITE_FILE).is_file():
        changes["runtime"] = "litert"
    if flags.enable_batching and flags.enable_per_model_batching_parameters:
        changes |= _batching(directory / FILE_NAME, settings)
    if not changes:
        return settings
    return parse(ModelSettings, dict(settings) | changes, f"the settings of {directory}")


def _batching(path: Path, settings: ModelSettings) -> dict[str, Any]:
    """Returns the model's own parameters; the threads stay those of the server, as they are shared there."""
    values = batching_settings(read_text_proto(path, BatchingParameters)) if path.is_file() else UNBATCHED
    settings_of_model = {"max_batch_size": None, "allowed_batch_sizes": (), "batch_delay_ms": 0.0, **values}
    return settings_of_model | {"instances": settings.instances}
