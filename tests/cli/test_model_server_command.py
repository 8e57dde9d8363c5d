"""`cvserve model-server` as a process, instead of tensorflow_model_server."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from half_plus_two import write_tf1

pytest.importorskip("tensorflow_serving", reason="the server needs cvserve[serve]")

pytestmark = pytest.mark.slow  # TensorFlow is part of the server's start

START_SECONDS = 120


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ModelServer:
    """Runs a server as a process."""

    def __init__(self, log: Path, environment: dict[str, str], *flags: str) -> None:
        self.port, self.log = free_port(), log
        command = [sys.executable, "-m", "cvserve.cli", "model-server", f"--port={self.port}", *flags]
        with log.open("w") as stream:
            self.process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env=environment)

    def wait_for(self, text: str, seconds: float = START_SECONDS) -> None:
        """Waits until a line has the text."""
        end = time.monotonic() + seconds
        while text not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.05)

    def ask(self, name: str, address: str = "") -> Any:
        """Sends a request as the clients of TensorFlow Serving's examples do: the answer is half of 2 and the model's
        addend."""
        import grpc
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

        with grpc.insecure_channel(address or f"localhost:{self.port}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            request = predict_pb2.PredictRequest()
            request.model_spec.name = name
            request.inputs["x"].CopyFrom(tf.make_tensor_proto([2.0], shape=[1]))
            return stub.Predict(request, timeout=10.0)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Makes two models without a manifest."""
    root = tmp_path_factory.mktemp("without_manifest")
    for name in ("half_plus_two", "other"):
        write_tf1(root / name / "00000123")
    return root


@pytest.fixture
def servers() -> Iterator[list[ModelServer]]:
    made: list[ModelServer] = []
    yield made
    for server in made:
        server.process.kill()
        server.process.wait()


def config(*models: Path) -> str:
    listed = "\n".join(
        f'  config: {{\n    name: "{path.name}",\n    base_path: "{path}",\n    model_platform: "tensorflow"\n  }}'
        for path in models
    )
    return f"model_config_list: {{\n{listed}\n}}\n"


def publish(path: Path, text: str) -> None:
    """Replaces the file in one step, as configuration tools do, so that the server never reads half of it."""
    beside = path.with_suffix(".new")
    beside.write_text(text)
    os.replace(beside, path)


def test_a_single_model_answers_an_unmodified_client(
    models: Path, servers: list[ModelServer], environment: dict[str, str], tmp_path: Path
) -> None:
    """The flags are those with which TensorFlow Serving's own tests start their server."""
    rest_port, path = free_port(), tmp_path / "grpc.sock"
    (tmp_path / "batching.txt").write_text("max_batch_size { value: 128 }\nnum_batch_threads { value: 1 }\n")
    (tmp_path / "monitoring.txt").write_text('prometheus_config: {\n  enable: true,\n  path: "/metrics"\n}\n')
    server = ModelServer(
        tmp_path / "log.txt",
        environment,
        f"--rest_api_port={rest_port}",
        "--rest_api_timeout_in_ms=5000",
        f"--grpc_socket_path={path}",
        "--model_name=half_plus_two",
        f"--model_base_path={models / 'half_plus_two'}",
        f"--monitoring_config_file={tmp_path / 'monitoring.txt'}",
        "--enable_batching",
        f"--batching_parameters_file={tmp_path / 'batching.txt'}",
        "--grpc_channel_arguments=grpc.max_connection_age_ms=60000",
        "--grpc_max_threads=16",
    )
    servers.append(server)
    server.wait_for(f"Running gRPC ModelServer at 0.0.0.0:{server.port} ...")
    assert "cvserve: warning: without effect here: --grpc_max_threads\n" in server.log.read_text()
    for address in ("", f"unix:{path}"):
        answer = server.ask("half_plus_two", address)
        assert answer.outputs["y"].float_val[:] == [3.0]
        assert (answer.model_spec.version.value, answer.model_spec.signature_name) == (123, "serving_default")
    server.wait_for(f"Exporting HTTP/REST API at:localhost:{rest_port} ...")
    body = json.dumps({"instances": [2.0]}).encode()
    with urllib.request.urlopen(f"http://localhost:{rest_port}/v1/models/half_plus_two:predict", body) as answer:
        assert json.load(answer) == {"predictions": [3.0]}
    with urllib.request.urlopen(f"http://localhost:{rest_port}/metrics") as answer:
        assert ":tensorflow:serving:request_count" in answer.read().decode()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 0


def test_the_config_file_is_read_again_and_a_bad_one_keeps_the_models(
    models: Path, servers: list[ModelServer], environment: dict[str, str], tmp_path: Path
) -> None:
    import grpc

    path = tmp_path / "models.config"
    publish(path, config(models / "half_plus_two"))
    server = ModelServer(
        tmp_path / "log.txt",
        environment,
        f"--model_config_file={path}",
        "--model_config_file_poll_wait_seconds=1",
    )
    servers.append(server)
    server.wait_for("Running gRPC ModelServer at")
    assert server.ask("half_plus_two").outputs["y"].float_val[:] == [3.0]
    with pytest.raises(grpc.RpcError, match="Servable not found for request: Latest"):
        server.ask("other")

    publish(path, config(models / "half_plus_two", models / "other"))
    server.wait_for("applied the changed model config: half_plus_two, other")
    assert server.ask("other").outputs["y"].float_val[:] == [3.0]

    publish(path, "improperly formatted file")
    server.wait_for(
        "Failed to read ModelServerConfig file: "
        "Error parsing text-format tensorflow.serving.ModelServerConfig: 1:1 : Message type"
    )
    publish(path, config(models / "half_plus_two", models / "nowhere"))
    server.wait_for("PollFilesystemAndReloadConfig failed to ReloadConfig: Could not find base path")
    assert [server.ask(name).model_spec.name for name in ("half_plus_two", "other")] == ["half_plus_two", "other"]

    publish(path, config(models / "other"))
    server.wait_for("applied the changed model config: other\n")
    assert server.ask("other").outputs["y"].float_val[:] == [3.0]
    with pytest.raises(grpc.RpcError, match="Servable not found for request: Latest"):
        server.ask("half_plus_two")


def test_a_bad_config_file_ends_the_start(tmp_path: Path, cvserve: Any) -> None:
    (tmp_path / "bad.config").write_text("improperly formatted file")
    done = cvserve("model-server", f"--port={free_port()}", f"--model_config_file={tmp_path / 'bad.config'}")
    assert done.returncode == 2
    assert "Error parsing text-format tensorflow.serving.ModelServerConfig" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_waits_for_a_model_and_ends_on_sigterm(
    servers: list[ModelServer], environment: dict[str, str], tmp_path: Path
) -> None:
    server = ModelServer(tmp_path / "log.txt", environment, f"--model_base_path={tmp_path / 'later'}")
    servers.append(server)
    server.wait_for(f"waiting: Could not find base path {tmp_path / 'later'} for servable default")
    with contextlib.closing(socket.socket()) as probe:
        assert probe.connect_ex(("127.0.0.1", server.port)) != 0
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 0


DOCKERFILE = Path(__file__).resolve().parents[2] / "deploy" / "Dockerfile.model-server"


def test_the_containers_entry_point_takes_the_variables_of_tensorflow_serving(tmp_path: Path) -> None:
    """The entry point as a plain process, with a `cvserve` that prints its arguments."""
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    found = dict(re.findall(r"^(ENTRYPOINT|ENV) +(.*)$", text, flags=re.MULTILINE))
    variables = dict(pair.split("=", 1) for pair in found["ENV"].split())
    assert variables == {"MODEL_NAME": "model", "MODEL_BASE_PATH": "/models"}
    (tmp_path / "cvserve").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "cvserve").chmod(0o755)
    done = subprocess.run(
        [*json.loads(found["ENTRYPOINT"]), "--enable_batching", "--model_config_file=/a b"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", **variables, "MODEL_NAME": "flowers"},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "model-server",
        "--port=8500",
        "--rest_api_port=8501",
        "--model_name=flowers",
        "--model_base_path=/models/flowers",
        "--enable_batching",
        "--model_config_file=/a b",
    ]
