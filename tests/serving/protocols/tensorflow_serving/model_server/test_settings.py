"""Flags and files together: the settings of the server that starts with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cvserve.errors import CvserveError, InvalidInput, NotFound
from cvserve.serving.core.settings import ModelConfig, ModelSettings
from cvserve.serving.core.version_policy import Latest, Specific
from cvserve.serving.model_server import listening_lines
from cvserve.serving.protocols.tensorflow_serving.model_server.flags import Flags
from cvserve.serving.protocols.tensorflow_serving.model_server.loading import version_settings
from cvserve.serving.protocols.tensorflow_serving.model_server.settings import Start, read_start

pytest.importorskip("tensorflow_serving")

KEY = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nZmlsZQ==\n-----END CERTIFICATE-----\n"
AUTHORITY = "-----BEGIN CERTIFICATE-----\nY2E=\n-----END CERTIFICATE-----\n"


def start(**values: Any) -> Start:
    return read_start(Flags(**({"model_base_path": "/models/m"} | values)))


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def quoted(text: str) -> str:
    return '"' + text.replace("\n", "\\n") + '"'


def test_the_defaults_are_those_of_tensorflow_serving() -> None:
    found = start(model_name="flowers")
    settings = found.settings
    assert (settings.host, settings.port, settings.unix_socket) == ("0.0.0.0", 8500, "")
    assert settings.http_port == -1
    assert settings.http_timeout_seconds == 30
    assert not settings.http_cors
    assert settings.tls is None
    assert not settings.batching
    assert (settings.poll_seconds, settings.max_load_retries, settings.load_retry_seconds) == (1, 5, 60)
    assert not settings.allow_version_labels_for_unavailable_models
    assert settings.max_message_bytes == 2**31 - 1
    assert found.models == (ModelConfig("flowers", Path("/models/m"), Latest(1), {}, settings.of_model("flowers")),)
    assert not found.models[0].settings.batching
    assert found.warnings == ()
    assert start().models[0].name == "default"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"port": 9000, "rest_api_port": 8501}, {"port": 9000, "http_port": 8501}),
        ({"port": 0, "grpc_socket_path": "/tmp/s"}, {"port": -1, "unix_socket": "/tmp/s"}),
        ({"rest_api_timeout_in_ms": 1500}, {"http_timeout_seconds": 1.5}),
        ({"rest_api_timeout_in_ms": 0}, {"http_timeout_seconds": 86400}),
        ({"rest_api_enable_cors_support": True}, {"http_cors": True}),
        ({"file_system_poll_wait_seconds": 0}, {"poll_seconds": 0}),
        ({"max_num_load_retries": 0, "load_retry_interval_micros": 1500}, {"max_load_retries": 0}),
        ({"load_retry_interval_micros": 1500}, {"load_retry_seconds": 0.0015}),
        ({"load_retry_interval_micros": -1}, {"load_retry_seconds": 0}),
        (
            {"allow_version_labels_for_unavailable_models": True},
            {"allow_version_labels_for_unavailable_models": True},
        ),
        ({"tensorflow_session_parallelism": 3}, {"threads": 3, "interop_threads": 3}),
        ({"tensorflow_intra_op_parallelism": 2}, {"threads": 2, "interop_threads": None}),
        ({"tensorflow_inter_op_parallelism": 2}, {"threads": None, "interop_threads": 2}),
        ({"grpc_channel_arguments": "grpc.a=1,b=c"}, {"channel_options": {"grpc.a": 1, "b": "c"}}),
        ({"enable_batching": True}, {"batching": True, "max_batch_size": None, "max_request_rows": 1000}),
        ({"enable_serialization_as_tensor_content": True}, {"tensor_content": True}),
        ({"enable_model_warmup": False}, {"warmup": 0}),
        ({"num_request_iterations_for_warmup": 3}, {"warmup": 3}),
        ({"saved_model_tags": "serve,gpu"}, {"saved_model_tags": ("serve", "gpu")}),
    ],
)
def test_each_flag_becomes_its_setting(flags: dict[str, Any], expected: dict[str, Any]) -> None:
    found = start(**flags).settings
    assert {key: getattr(found, key) for key in expected} == expected


def test_batching_parameters(tmp_path: Path) -> None:
    path = written(tmp_path / "b.txt", "max_batch_size { value: 16 } num_batch_threads { value: 2 }")
    found = start(enable_batching=True, batching_parameters_file=path)
    assert (found.models[0].settings.max_batch_size, found.models[0].settings.instances) == (16, 2)
    path = written(tmp_path / "c.txt", "pad_variable_length_inputs: true")
    [warning] = start(enable_batching=True, batching_parameters_file=path).warnings
    assert warning.startswith("without effect here: pad_variable_length_inputs")


def test_the_models_of_a_file_replace_the_single_one(tmp_path: Path) -> None:
    path = written(
        tmp_path / "models.config",
        'model_config_list { config { name: "a" base_path: "/a" model_platform: "tensorflow" '
        "model_version_policy { specific { versions: 2 } } } }",
    )
    found = start(model_config_file=path, enable_batching=True)
    assert [(each.name, each.base_path, each.policy) for each in found.models] == [("a", Path("/a"), Specific((2,)))]
    assert found.models[0].settings.batching


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('prometheus_config: {\n enable: true,\n path: "/metrics"\n}', "/metrics"),
        ("prometheus_config { enable: true }", "/monitoring/prometheus/metrics"),
        ("", "/monitoring/prometheus/metrics"),
    ],
)
def test_monitoring(text: str, path: str, tmp_path: Path) -> None:
    assert start(monitoring_config_file=written(tmp_path / "m", text)).settings.metrics_path == path


def test_tls(tmp_path: Path) -> None:
    text = f"server_key: {quoted(KEY)}\nserver_cert: {quoted(CERTIFICATE)}\ncustom_ca: {quoted(AUTHORITY)}\n"
    found = start(ssl_config_file=written(tmp_path / "a", text), rest_api_port=8501)
    tls = found.settings.tls
    assert tls is not None
    assert (tls.certificate, tls.key) == (CERTIFICATE.strip(), KEY.strip())
    # As in TensorFlow Serving, clients need no certificate and REST is not encrypted; a warning says the latter.
    assert (tls.client_ca, tls.clients_must, tls.http) == (None, False, False)
    assert found.warnings == (
        "TLS is on the gRPC port only, as in TensorFlow Serving: REST on port 8501 is not encrypted",
    )
    mutual = start(ssl_config_file=written(tmp_path / "b", text + "client_verify: true"))
    assert mutual.settings.tls is not None
    assert (mutual.settings.tls.client_ca, mutual.settings.tls.clients_must) == (AUTHORITY.strip(), True)
    assert mutual.warnings == ()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (f"server_cert: {quoted(CERTIFICATE)}", "server_key must hold the text of a PEM file"),
        (f'server_key: {quoted(KEY)} server_cert: "/etc/ssl/server.crt"', "server_cert must hold the text of a PEM"),
        (
            f"server_key: {quoted(KEY)} server_cert: {quoted(CERTIFICATE)} client_verify: true",
            "client_verify needs custom_ca",
        ),
        # A key that was not quoted.
        (f"server_key: {KEY}", "Error parsing text-format tensorflow.serving.SSLConfig: 1:"),
        ("server_key: 'c2VjcmV0", "Error parsing text-format tensorflow.serving.SSLConfig: 1:"),
    ],
)
def test_the_error_of_a_bad_ssl_file_does_not_show_the_key(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        start(ssl_config_file=written(tmp_path / "ssl.txt", text))
    assert sentence in str(caught.value)
    assert "c2VjcmV0" not in str(caught.value)
    assert "BEGIN PRIVATE" not in str(caught.value)


@pytest.mark.parametrize(
    "flag",
    [
        "model_config_file",
        "monitoring_config_file",
        "ssl_config_file",
        "batching_parameters_file",
    ],
)
@pytest.mark.parametrize(
    ("content", "kind", "sentence"),
    [
        (None, NotFound, "; No such file or directory"),
        ("improperly formatted file", InvalidInput, "Error parsing text-format tensorflow.serving."),
    ],
)
def test_files_that_are_missing_or_not_text_protos(
    flag: str, content: str | None, kind: type[CvserveError], sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / "file.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(kind, match=r"file\.txt") as caught:
        start(**{"enable_batching": True, flag: str(path)})
    assert sentence in str(caught.value)


def test_flags_without_effect_are_reported_in_one_line() -> None:
    assert start(enable_profiler=False, grpc_max_threads=64).warnings == (
        "without effect here: --grpc_max_threads, --enable_profiler",
    )


def test_rest_on_the_port_of_grpc_is_left_out_as_in_tensorflow_serving() -> None:
    found = start(port=8500, rest_api_port=8500)
    assert found.settings.http_port == -1
    assert "server_options.http_port cannot be same as grpc_port." in found.warnings[0]


@pytest.mark.parametrize("path", ["models/m", "s3://bucket/m"])
def test_a_single_models_path_is_absolute_and_here(path: str) -> None:
    with pytest.raises(InvalidInput, match="default"):
        start(model_base_path=path)


def test_settings_that_tensorflow_serving_does_not_know(tmp_path: Path) -> None:
    text = "grace_seconds: 5\nport: 9001\nmodels:\n  m:\n    max_batch_size: 4\n"
    found = start(model_name="m", enable_batching=True, cvserve_config_file=written(tmp_path / "own.yaml", text))
    assert (found.settings.grace_seconds, found.settings.port) == (5, 9001)
    assert found.models[0].settings.max_batch_size == 4
    assert listening_lines(found) == ["Running gRPC ModelServer at 0.0.0.0:9001 ..."]
    path = written(tmp_path / "bad.yaml", "grace: 5")
    with pytest.raises(InvalidInput, match="unknown key 'grace'"):
        start(cvserve_config_file=path)


@pytest.mark.slow
def test_the_threads_of_a_session_config(tmp_path: Path) -> None:
    path = written(tmp_path / "session.txt", "intra_op_parallelism_threads: 3\ngpu_options { allow_growth: true }")
    assert start(tensorflow_session_config_file=path).settings.threads == 3
    assert start(tensorflow_session_config_file=path, tensorflow_intra_op_parallelism=2).settings.threads == 2
    path = written(tmp_path / "bad.txt", "threads: 3")
    with pytest.raises(InvalidInput, match=r"Error parsing text-format tensorflow\.ConfigProto: 1:1 : "):
        start(tensorflow_session_config_file=path)


def test_per_model_batching_parameters(tmp_path: Path) -> None:
    common = ModelSettings(max_batch_size=64, allowed_batch_sizes=(32, 64), batch_delay_ms=5, instances=2)
    flags = Flags(enable_batching=True, enable_per_model_batching_parameters=True)
    # Without the file the model is not batched, and the common file is ignored.
    alone = version_settings(flags, tmp_path, common)
    assert (alone.batching, alone.max_batch_size, alone.instances) == (False, None, 2)
    (tmp_path / "batching_params.pbtxt").write_text("max_batch_size { value: 8 } num_batch_threads { value: 9 }")
    own = version_settings(flags, tmp_path, common)
    assert (own.batching, own.max_batch_size, own.allowed_batch_sizes, own.batch_delay_ms) == (True, 8, (), 0)
    # Threads are shared by all models there, and come from the common file.
    assert own.instances == 2
    assert version_settings(Flags(enable_batching=True), tmp_path, common) is common
    assert version_settings(Flags(enable_per_model_batching_parameters=True), tmp_path, common) is common
    (tmp_path / "batching_params.pbtxt").write_text("max_batch_size { value: 0 }")
    with pytest.raises(InvalidInput, match="max_batch_size must be positive; was 0"):
        version_settings(flags, tmp_path, common)


def test_tflite_is_preferred_where_there_is_one(tmp_path: Path) -> None:
    flags = Flags(prefer_tflite_model=True)
    assert version_settings(flags, tmp_path, ModelSettings()).runtime == "auto"
    (tmp_path / "model.tflite").write_bytes(b"")
    assert version_settings(flags, tmp_path, ModelSettings()).runtime == "litert"
    assert version_settings(Flags(), tmp_path, ModelSettings()).runtime == "auto"
