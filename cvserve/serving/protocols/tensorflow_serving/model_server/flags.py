"""The flags of tensorflow_model_server, with its defaults and its checks.

Names, types and defaults are those of tensorflow_serving/model_servers/main.cc and server.h. This module imports
only the standard library, since `--help` imports it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from cvserve.errors import InvalidInput, Unimplemented


def _flag(default: Any, text: str) -> Any:
    return field(default=default, metadata={"text": text, "effect": True})


def _ignored(default: Any, text: str) -> Any:
    """Returns a flag that is accepted and changes nothing, since this server does not have what it controls."""
    return field(default=default, metadata={"text": text, "effect": False})


@dataclass(frozen=True)
class Flags:
    """Holds the flags of the command line, with defaults for those that are not given."""

    port: int = _flag(8500, "gRPC port; 0 with --grpc_socket_path: none")
    grpc_socket_path: str = _flag("", "path of a UNIX socket on which gRPC is answered too")
    rest_api_port: int = _flag(0, "port of the REST API; 0: none")
    rest_api_timeout_in_ms: int = _flag(30_000, "longest time of a REST call")
    rest_api_enable_cors_support: bool = _flag(False, "CORS headers in REST answers")
    enable_batching: bool = _flag(False, "run requests that wait at the same time in one batch")
    batching_parameters_file: str = _flag("", "BatchingParameters, as text")
    enable_per_model_batching_parameters: bool = _flag(
        False, "sizes and times from batching_params.pbtxt in a version's directory; without that file no batching"
    )
    allow_version_labels_for_unavailable_models: bool = _flag(
        False, "new labels may point at versions that are not available yet"
    )
    model_config_file: str = _flag(
        "", "ModelServerConfig, as text: the models; used instead of --model_name and its path"
    )
    model_config_file_poll_wait_seconds: int = _flag(
        0, "seconds between two readings of the file; 0: only at the start"
    )
    model_name: str = _flag("default", "the name of a single model")
    model_base_path: str = _flag("", "the directory of its versions")
    max_num_load_retries: int = _flag(5, "tries after the first failure to load a version")
    load_retry_interval_micros: int = _flag(60_000_000, "microseconds between two tries")
    file_system_poll_wait_seconds: int = _flag(1, "seconds between two checks for new versions; 0: only at the start")
    tensorflow_session_parallelism: int = _flag(0, "threads within and across operations; 0: by the cores")
    tensorflow_intra_op_parallelism: int = _flag(0, "threads within an operation; 0: by the cores")
    tensorflow_inter_op_parallelism: int = _flag(0, "operations that run at the same time; 0: by the cores")
    tensorflow_session_config_file: str = _flag("", "ConfigProto of TensorFlow, as text: its thread counts are used")
    ssl_config_file: str = _flag("", "SSLConfig, as text: TLS on the gRPC port")
    use_alts_credentials: bool = _flag(False, "not supported: use --ssl_config_file")
    monitoring_config_file: str = _flag("", "MonitoringConfig, as text: Prometheus on the REST port")
    saved_model_tags: str = _flag("serve", "tags of the graph in a SavedModel, with commas")
    grpc_channel_arguments: str = _flag("", "options of the gRPC server: name=value,name=value")
    enable_model_warmup: bool = _flag(True, "run a version's recorded requests before it is available")
    num_request_iterations_for_warmup: int = _flag(0, "number of times that each of them is run; 0: once")
    prefer_tflite_model: bool = _flag(False, "use the .tflite file of a version if it has one")
    enable_serialization_as_tensor_content: bool = _flag(False, "answers in tensor_content instead of typed fields")
    version: bool = _flag(False, "print the version and exit")
    cvserve_config_file: str = _flag(
        "", "not a flag of TensorFlow Serving: settings of `cvserve serve` as YAML, which override the other flags"
    )

    rest_api_num_threads: int = _ignored(0, "REST needs no threads here")
    grpc_max_threads: int = _ignored(0, "gRPC needs no threads here")
    num_load_threads: int = _ignored(0, "versions always load while requests are answered")
    num_unload_threads: int = _ignored(0, "versions always unload while requests are answered")
    flush_filesystem_caches: bool = _ignored(True, "file caches are not flushed")
    per_process_gpu_memory_fraction: float = _ignored(
        0.0, "GPU memory is taken as it is needed; gpu_memory_mib in --cvserve_config_file limits it"
    )
    enable_signature_method_name_check: bool = _ignored(
        False, "Classify and Regress accept every signature that has their inputs and outputs"
    )
    platform_config_file: str = _ignored("", "the platform is TensorFlow")
    remove_unused_fields_from_bundle_metagraph: bool = _ignored(True, "no copy of the MetaGraphDef is kept")
    num_tflite_pools: int = _ignored(0, "a pool has as many interpreters as there are instances")
    num_tflite_interpreters_per_pool: int = _ignored(1, "a pool has as many interpreters as there are instances")
    xla_cpu_compilation_enabled: bool = _ignored(False, "XLA runs where a graph asks for it")
    xla_gpu_compilation_enabled: bool = _ignored(False, "XLA runs where a graph asks for it")
    enable_profiler: bool = _ignored(True, "there is no profiler service")
    thread_pool_factory_config_file: str = _ignored("", "there are no such thread pools")
    mixed_precision: str = _ignored("", "a graph runs as it was exported")
    skip_initialize_tpu: bool = _ignored(False, "there are no TPUs")
    enable_grpc_healthcheck_service: bool = _ignored(False, "the health service is always there")

    def without_effect(self) -> list[str]:
        """Returns the names of the given flags that change nothing."""
        return [
            each.name
            for each in fields(self)
            if not each.metadata["effect"] and getattr(self, each.name) != each.default
        ]

    def check(self) -> None:
        """Checks the flags as tensorflow_model_server does, with its error texts.

        Raises:
            InvalidInput: flags that exclude or need one another. Unimplemented: ALTS.
        """
        if self.port == 0 and not self.grpc_socket_path:
            raise InvalidInput(
                "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set."
            )
        for name in ("port", "rest_api_port"):
            if not 0 <= getattr(self, name) <= 65535:
                raise InvalidInput(f"--{name}={getattr(self, name)} is not a port; give 0 to 65535")
        if self.use_alts_credentials and self.ssl_config_file:
            raise InvalidInput("Either use_alts_credentials must be false or ssl_config_file must be empty.")
        if self.use_alts_credentials:
            raise Unimplemented("--use_alts_credentials is not supported; use --ssl_config_file")
        if not self.model_base_path and not self.model_config_file:
            raise InvalidInput(
                "Both server_options.model_base_path and server_options.model_config_file are empty! "
                "Give --model_base_path=DIRECTORY or --model_config_file=FILE"
            )
        if self.batching_parameters_file and not self.enable_batching:
            raise InvalidInput(
                "server_options.batching_parameters_file is set without setting server_options.enable_batching to true."
            )
        if (
            self.tensorflow_session_parallelism > 0
            and self.tensorflow_intra_op_parallelism > 0
            and self.tensorflow_inter_op_parallelism > 0
        ):
            raise InvalidInput(
                "Either configure server_options.tensorflow_session_parallelism or "
                "(server_options.tensorflow_intra_op_parallelism, server_options.tensorflow_inter_op_parallelism) "
                "separately. You cannot configure all."
            )
        if not 0.0 <= self.per_process_gpu_memory_fraction <= 1.0:
            raise InvalidInput(
                f"--per_process_gpu_memory_fraction={self.per_process_gpu_memory_fraction:g}: give 0.0 to 1.0"
            )
        if self.file_system_poll_wait_seconds < 0:
            raise InvalidInput(
                f"--file_system_poll_wait_seconds={self.file_system_poll_wait_seconds}: negative values would never "
                "find a model; 0 looks once"
            )
        if self.max_num_load_retries < 0:
            raise InvalidInput(f"--max_num_load_retries={self.max_num_load_retries}: give 0 or more")


def channel_options(text: str) -> dict[str, int | str]:
    """Returns the value of --grpc_channel_arguments: `name=value,name=value`; whole numbers become numbers.

    Raises:
        InvalidInput: a part without "=".
    """
    options: dict[str, int | str] = {}
    for part in text.split(",") if text else []:
        name, equals, value = part.partition("=")
        if not name or not equals:
            raise InvalidInput(f"--grpc_channel_arguments: {part!r} is not an argument; write name=value,name=value")
        try:
            options[name] = int(value)
        except ValueError:
            options[name] = value
    return options
