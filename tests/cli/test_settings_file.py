"""A settings file, --set and flags together: each overrides the one before, and a flag that is not given does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvserve.cli import export, serve
from cvserve.cli.arguments import Parser, file_and_set
from cvserve.errors import InvalidInput
from cvserve.settings import with_overrides

pytest.importorskip("tensorflow_serving", reason="the server needs cvserve[serve]")


def settings(file: Path, *flags: str):
    from cvserve.serving.settings import load_settings

    parser = Parser()
    serve.add_arguments(parser)
    arguments = parser.parse_args(["models", "--config", str(file), *flags])
    return load_settings(file_and_set(arguments), **serve._flags(arguments))


def test_flags_that_are_not_given_leave_the_file_as_it_is(tmp_path: Path) -> None:
    values = {
        "host": "127.0.0.1",
        "port": 1234,
        "http_port": 1235,
        "decode_workers": 3,
        "grace_seconds": 5.5,
        "runtime": "onnx",
        "precision": "float16",
        "threads": 2,
        "instances": 3,
        "devices": ("cpu",),
        "max_batch_size": 7,
        "batch_delay_ms": 1.5,
        "batching": False,
        "max_queue_requests": 9,
    }
    file = tmp_path / "server.yaml"
    written = values | {"devices": ["cpu"]}
    file.write_text("".join(f"{key}: {value}\n" for key, value in written.items()))
    read = settings(file)
    assert {key: getattr(read, key) for key in values} == values
    parser = Parser()
    serve.add_arguments(parser)
    assert set(serve._flags(parser.parse_args(["models"]))) == set(values), "this test lacks a flag"


def test_a_flag_overrides_the_file(tmp_path: Path) -> None:
    file = tmp_path / "server.yaml"
    file.write_text("runtime: onnx\n")
    assert settings(file, "--runtime", "auto").runtime == "auto"


def test_any_setting_can_be_given_with_set(tmp_path: Path) -> None:
    file = tmp_path / "server.yaml"
    file.write_text("max_decode_waiting: 3\nmodels: {flowers: {max_batch_size: 4, instances: 2}}\nport: 1\n")
    read = settings(
        file,
        "--set",
        "max_decode_waiting=0",
        "--set",
        "models.flowers.max_batch_size=8",
        "--set",
        "port=2",
        "--port",
        "3",
    )
    assert (read.max_decode_waiting, read.port) == (0, 3)
    assert (read.models["flowers"].max_batch_size, read.models["flowers"].instances) == (8, 2)
    with pytest.raises(InvalidInput, match="unknown key 'graph_niec'; did you mean 'graph_nice'"):
        settings(file, "--set", "graph_niec=0")
    with pytest.raises(InvalidInput, match="'poll_seconds' is not a setting; write key=value"):
        settings(file, "--set", "poll_seconds")
    keepalive = settings(file, "--set", "channel_options={grpc.keepalive_time_ms: 5000}").channel_options
    assert keepalive == {"grpc.keepalive_time_ms": 5000}


def test_a_setting_without_effect_is_read_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "server.yaml"
    file.write_text("graph_nice: 5\nport: 1\n")
    assert settings(file).port == 1
    assert "graph_nice has no effect any more and can be removed" in caplog.text


def test_a_fault_of_the_file_names_it_whatever_is_set(tmp_path: Path) -> None:
    file = tmp_path / "server.yaml"
    file.write_text("prot: 1\n")
    with pytest.raises(InvalidInput, match=r"server\.yaml: unknown key 'prot'"):
        settings(file, "--set", "graph_nice=0")


def test_set_completes_a_file(tmp_path: Path) -> None:
    file = tmp_path / "server.yaml"
    file.write_text("tls: {certificate: server.pem}\n")
    tls = settings(file, "--set", "tls.key=/run/secrets/key.pem").tls
    assert tls is not None
    assert (tls.certificate, tls.key) == ("server.pem", "/run/secrets/key.pem")
    with pytest.raises(InvalidInput, match=r"server\.yaml: 'tls.key' is missing"):
        settings(file)


def test_settings_of_a_model_fit_into_a_file_that_leaves_models_empty(tmp_path: Path) -> None:
    file = tmp_path / "server.yaml"
    file.write_text("port: 1\n")
    assert settings(file, "--set", "models.flowers.threads=2").models["flowers"].threads == 2
    assert with_overrides({"models": None}, ["models.flowers.threads=2"]) == {"models": {"flowers": {"threads": 2}}}


def test_a_wrong_format_is_reported_while_arguments_are_parsed(capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser()
    export.add_arguments(parser)
    assert parser.parse_args(["run", "--to", "m", "--formats", "onnx, tflite"]).formats == ("onnx", "tflite")
    with pytest.raises(SystemExit):
        parser.parse_args(["run", "--to", "m", "--formats", "onx"])
    assert "'onx' is not one of saved_model, onnx, tflite" in capsys.readouterr().err
