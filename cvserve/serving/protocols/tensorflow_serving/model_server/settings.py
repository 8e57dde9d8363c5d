"""Converts the flags of tensorflow_model_server, with the files that they name, to settings of our server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cvserve.errors import InvalidInput
from cvserve.protos import model_server_pb2
from cvserve.protos import tensorflow_serving as protos
from cvserve.serving.core.settings import ModelConfig, ModelSettings
from cvserve.serving.protocols.tensorflow_serving.model_server.batching import ANY, UNBATCHED, batching_settings
from cvserve.serving.protocols.tensorflow_serving.model_server.flags import Flags, channel_options
from cvserve.serving.protocols.tensorflow_serving.model_server.model_configs import base_path, model_configs
from cvserve.serving.protocols.tensorflow_serving.model_server.text_proto import read_text_proto
from cvserve.serving.security.settings import PEM, TlsSettings
from cvserve.serving.settings import ServerSettings
from cvserve.settings import parse, read_yaml

A_DAY = 86_400.0


@dataclass(frozen=True)
class Start:
    """Holds the settings and models of the server. warnings: about flags that change nothing, or less than they say."""

    settings: ServerSettings
    models: tuple[ModelConfig, ...]
    warnings: tuple[str, ...]


def read_start(flags: Flags) -> Start:
    """Reads the files that the flags name, and returns the settings and models of the server.

    Raises:
        InvalidInput, NotFound, Unimplemented: where tensorflow_model_server would not start either; with its texts.
    """
    flags.check()
    warnings = []
    if flags.without_effect():
        warnings.append("without effect here: " + ", ".join(f"--{name}" for name in flags.without_effect()))
    own = read_yaml(flags.cvserve_config_file) if flags.cvserve_config_file else {}
    values = {
        **_listening(flags, warnings),
        **_lifecycle(flags),
        **_threads(flags),
        **_batching(flags, warnings),
        "warmup": max(1, flags.num_request_iterations_for_warmup) if flags.enable_model_warmup else 0,
        "saved_model_tags": tuple(flags.saved_model_tags.split(",")),
    }
    settings = parse(ServerSettings, values | own, flags.cvserve_config_file or "the flags")
    return Start(settings, tuple(read_models(flags, settings.of_model)), tuple(warnings))


def read_models(flags: Flags, settings_of: Callable[[str], ModelSettings]) -> list[ModelConfig]:
    """Returns the models of --model_config_file, or the single model of the flags.

    Raises:
        InvalidInput, NotFound, Unimplemented: see `model_configs`.
    """
    if not flags.model_config_file:
        path = base_path(flags.model_name, flags.model_base_path)
        return [ModelConfig(flags.model_name, path, settings=settings_of(flags.model_name))]
    return model_configs(read_text_proto(flags.model_config_file, protos.ModelServerConfig), settings_of)


def _listening(flags: Flags, warnings: list[str]) -> dict[str, Any]:
    rest = flags.rest_api_port or -1
    if rest == flags.port:
        warnings.append(
            "server_options.http_port cannot be same as grpc_port. Please use a different port for HTTP/REST API. "
            "Skipped exporting HTTP/REST API."
        )
        rest = -1
    tls = _tls(flags.ssl_config_file)
    if tls is not None and rest > 0:
        warnings.append(f"TLS is on the gRPC port only, as in TensorFlow Serving: REST on port {rest} is not encrypted")
    return {
        "port": flags.port or -1,
        "unix_socket": flags.grpc_socket_path,
        "channel_options": channel_options(flags.grpc_channel_arguments),
        "http_port": rest,
        # 0 is no limit in TensorFlow Serving.
        "http_timeout_seconds": flags.rest_api_timeout_in_ms / 1000 if flags.rest_api_timeout_in_ms > 0 else A_DAY,
        "http_cors": flags.rest_api_enable_cors_support,
        **_metrics(flags.monitoring_config_file),
        "tensor_content": flags.enable_serialization_as_tensor_content,
        # As in TensorFlow Serving: batches of large images as floats come in one message.
        "max_message_bytes": ANY,
        **({} if tls is None else {"tls": tls}),
    }


def _metrics(path: str) -> dict[str, Any]:
    """Returns the path of the metrics. Without a file they are at their usual path, which does no harm."""
    if not path:
        return {}
    config = read_text_proto(path, model_server_pb2.MonitoringConfig).prometheus_config
    if config.path and not config.path.startswith("/"):
        raise InvalidInput(f"{path}: prometheus_config.path = {config.path!r} must begin with a slash")
    return {"metrics_path": config.path} if config.path else {}


def _tls(path: str) -> TlsSettings | None:
    if not path:
        return None
    config = read_text_proto(path, model_server_pb2.SSLConfig, secret=True)
    for name in ("server_key", "server_cert"):
        if not getattr(config, name).strip().startswith(PEM):
            raise InvalidInput(f"{path}: {name} must hold the text of a PEM file, which begins with {PEM}")
    if config.client_verify and not config.custom_ca.strip():
        raise InvalidInput(f"{path}: client_verify needs custom_ca, the authorities that sign clients' certificates")
    return TlsSettings(
        certificate=config.server_cert.strip(),
        key=config.server_key.strip(),
        # As in TensorFlow Serving, clients need no certificate without client_verify.
        client_ca=config.custom_ca.strip() if config.client_verify else None,
        http=False,
    )


def _lifecycle(flags: Flags) -> dict[str, Any]:
    return {
        "poll_seconds": flags.file_system_poll_wait_seconds,
        "max_load_retries": flags.max_num_load_retries,
        "load_retry_seconds": max(0, flags.load_retry_interval_micros) / 1_000_000,
        "allow_version_labels_for_unavailable_models": flags.allow_version_labels_for_unavailable_models,
    }


def _threads(flags: Flags) -> dict[str, Any]:
    """Returns the threads within an operation and the operations at the same time. Flags override the file."""
    intra = flags.tensorflow_intra_op_parallelism or flags.tensorflow_session_parallelism
    inter = flags.tensorflow_inter_op_parallelism or flags.tensorflow_session_parallelism
    if flags.tensorflow_session_config_file:
        config = read_text_proto(flags.tensorflow_session_config_file, protos.ConfigProto)
        intra = intra or config.intra_op_parallelism_threads
        inter = inter or config.inter_op_parallelism_threads
    counts = {"threads": intra, "interop_threads": inter}
    return {name: count for name, count in counts.items() if count > 0}


def _batching(flags: Flags, warnings: list[str]) -> dict[str, Any]:
    if not flags.enable_batching:
        return UNBATCHED
    parameters = model_server_pb2.BatchingParameters()
    if flags.batching_parameters_file:
        parameters = read_text_proto(flags.batching_parameters_file, model_server_pb2.BatchingParameters)
    if parameters.pad_variable_length_inputs:
        warnings.append(
            "without effect here: pad_variable_length_inputs; rows of different lengths run in batches of their own"
        )
    return batching_settings(parameters)
