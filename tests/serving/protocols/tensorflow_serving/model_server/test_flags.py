"""The flags of tensorflow_model_server: names, defaults, and the values that it refuses."""

from __future__ import annotations

from dataclasses import fields

import pytest

from cvserve.cli.main import main
from cvserve.errors import CvserveError, InvalidInput, Unimplemented
from cvserve.serving.protocols.tensorflow_serving.model_server.flags import Flags, channel_options

# tensorflow_serving/model_servers/main.cc and server.h at 2.20. Those that depend on the cores there are 0 here.
DEFAULTS = {
    "port": 8500,
    "grpc_socket_path": "",
    "rest_api_port": 0,
    "rest_api_num_threads": 0,
    "rest_api_timeout_in_ms": 30000,
    "rest_api_enable_cors_support": False,
    "enable_batching": False,
    "allow_version_labels_for_unavailable_models": False,
    "batching_parameters_file": "",
    "enable_per_model_batching_parameters": False,
    "model_config_file": "",
    "model_config_file_poll_wait_seconds": 0,
    "model_name": "default",
    "model_base_path": "",
    "num_load_threads": 0,
    "num_unload_threads": 0,
    "max_num_load_retries": 5,
    "load_retry_interval_micros": 60_000_000,
    "file_system_poll_wait_seconds": 1,
    "flush_filesystem_caches": True,
    "tensorflow_session_parallelism": 0,
    "tensorflow_session_config_file": "",
    "tensorflow_intra_op_parallelism": 0,
    "tensorflow_inter_op_parallelism": 0,
    "use_alts_credentials": False,
    "ssl_config_file": "",
    "platform_config_file": "",
    "per_process_gpu_memory_fraction": 0.0,
    "saved_model_tags": "serve",
    "grpc_channel_arguments": "",
    "grpc_max_threads": 0,
    "enable_model_warmup": True,
    "num_request_iterations_for_warmup": 0,
    "version": False,
    "monitoring_config_file": "",
    "remove_unused_fields_from_bundle_metagraph": True,
    "prefer_tflite_model": False,
    "num_tflite_pools": 0,
    "num_tflite_interpreters_per_pool": 1,
    "enable_signature_method_name_check": False,
    "xla_cpu_compilation_enabled": False,
    "xla_gpu_compilation_enabled": False,
    "enable_profiler": True,
    "thread_pool_factory_config_file": "",
    "mixed_precision": "",
    "skip_initialize_tpu": False,
    "enable_grpc_healthcheck_service": False,
    "enable_serialization_as_tensor_content": False,
}

OURS = {"cvserve_config_file": ""}


def test_every_flag_is_there_with_its_default() -> None:
    found = {each.name: each.default for each in fields(Flags)}
    expected = DEFAULTS | OURS
    assert found == expected
    assert {name: type(value) for name, value in found.items()} == {
        name: type(value) for name, value in expected.items()
    }


REFUSED: list[tuple[dict[str, object], type[CvserveError], str]] = [
    (
        {"port": 0},
        InvalidInput,
        "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set.",
    ),
    ({"port": 65536}, InvalidInput, "--port=65536 is not a port"),
    ({"rest_api_port": -1}, InvalidInput, "--rest_api_port=-1 is not a port"),
    (
        {"use_alts_credentials": True, "ssl_config_file": "ssl.txt"},
        InvalidInput,
        "Either use_alts_credentials must be false or ssl_config_file must be empty.",
    ),
    ({"use_alts_credentials": True}, Unimplemented, "--use_alts_credentials is not supported; use --ssl_config_file"),
    (
        {"model_base_path": ""},
        InvalidInput,
        "Both server_options.model_base_path and server_options.model_config_file are empty!",
    ),
    (
        {"batching_parameters_file": "b.txt"},
        InvalidInput,
        "server_options.batching_parameters_file is set without setting server_options.enable_batching to true.",
    ),
    (
        {
            "tensorflow_session_parallelism": 1,
            "tensorflow_intra_op_parallelism": 1,
            "tensorflow_inter_op_parallelism": 1,
        },
        InvalidInput,
        "You cannot configure all.",
    ),
    ({"per_process_gpu_memory_fraction": 1.5}, InvalidInput, "--per_process_gpu_memory_fraction=1.5: give 0.0 to 1.0"),
    ({"file_system_poll_wait_seconds": -1}, InvalidInput, "--file_system_poll_wait_seconds=-1: negative values"),
    ({"max_num_load_retries": -1}, InvalidInput, "--max_num_load_retries=-1: give 0 or more"),
]


@pytest.mark.parametrize(("values", "kind", "text"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_flags_that_exclude_each_other(values: dict[str, object], kind: type[CvserveError], text: str) -> None:
    with pytest.raises(kind) as caught:
        Flags(**({"model_base_path": "/models/m"} | values)).check()  # type: ignore[arg-type]
    assert text in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {"model_base_path": "/models/m"},
        {"model_config_file": "models.config"},
        {"model_base_path": "/m", "port": 0, "grpc_socket_path": "/tmp/x"},
        {"model_base_path": "/m", "tensorflow_intra_op_parallelism": 2, "tensorflow_inter_op_parallelism": 2},
        {"model_base_path": "/m", "enable_batching": True, "batching_parameters_file": "b.txt"},
        {"model_base_path": "/m", "model_config_file_poll_wait_seconds": -1, "load_retry_interval_micros": -1},
    ],
)
def test_flags_that_can_be_combined(values: dict[str, object]) -> None:
    Flags(**values).check()  # type: ignore[arg-type]


def test_flags_without_effect_are_named_only_where_they_were_changed() -> None:
    assert Flags(model_base_path="/m", enable_profiler=True).without_effect() == []
    assert Flags(model_base_path="/m", enable_profiler=False, grpc_max_threads=64).without_effect() == [
        "grpc_max_threads",
        "enable_profiler",
    ]


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("", {}),
        ("grpc.max_connection_age_ms=2000", {"grpc.max_connection_age_ms": 2000}),
        ("grpc.lb_policy_name=grpclb,a=-1", {"grpc.lb_policy_name": "grpclb", "a": -1}),
    ],
)
def test_channel_arguments(text: str, options: dict[str, object]) -> None:
    assert channel_options(text) == options


@pytest.mark.parametrize("text", ["grpc.max_connection_age_ms", "a=1,", "=2"])
def test_invalid_channel_arguments(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not an argument; write name=value,name=value"):
        channel_options(text)


def exit_of(words: list[str]) -> int:
    try:
        return main(["model-server", *words])
    except SystemExit as stop:
        return int(stop.code or 0)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--model_base_pth=/m"], "there is no option --model_base_pth; did you mean --model_base_path?"),
        (["--use_saved_model"], "there is no option --use_saved_model"),
        (["--port=eight"], "argument --port: couldn't interpret value 'eight'; give a whole number"),
        (["--port=8500.5"], "argument --port: couldn't interpret value '8500.5'; give a whole number"),
        (["--enable_batching=1"], "argument --enable_batching: couldn't interpret value '1'; give true or false"),
        (["--enable_batching=True"], "couldn't interpret value 'True'"),
        (["--per_process_gpu_memory_fraction=half"], "couldn't interpret value 'half'; give a number"),
        (["--model_base_path=/m", "extra"], "'extra' is one argument too many"),
        ([], "are empty!"),
        (["--port=0", "--model_base_path=/m"], "At least one of server_options.grpc_port"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_of(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert sentence in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["--enable_batching"], True),
        (["--enable_batching=true"], True),
        (["--enable_batching=false"], False),
        (["--enable_batching=false", "--enable_batching"], True),
        ([], False),
    ],
)
def test_booleans(words: list[str], value: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorflow_serving")
    seen: list[Flags] = []
    monkeypatch.setattr("cvserve.serving.model_server.model_server", seen.append)
    assert exit_of(["--model_base_path=/m", "--rest_api_port=8501", "--model_name", "flowers", *words]) == 0
    [flags] = seen
    assert (flags.enable_batching, flags.rest_api_port, flags.model_name) == (value, 8501, "flowers")


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_of(["--version"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("TensorFlow ModelServer: cvserve ")
    assert second.startswith("TensorFlow Library: ")
