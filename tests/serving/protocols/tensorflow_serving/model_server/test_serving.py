"""Servers that were started with flags of tensorflow_model_server: how the flags change the answers."""

from __future__ import annotations

import json
import shutil
import urllib.request
from asyncio import to_thread
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from certificates import make_authority, make_certificate
from half_plus_two import write_tf1, write_tflite

from cvserve.errors import ArtifactError, FailedPrecondition, InvalidInput
from cvserve.serving import Server
from cvserve.serving.protocols.tensorflow_serving.model_server.flags import Flags
from cvserve.serving.protocols.tensorflow_serving.model_server.loading import loader
from cvserve.serving.protocols.tensorflow_serving.model_server.settings import read_models, read_start
from cvserve.serving.protocols.tensorflow_serving.warmup import FILE
from cvserve.serving.server import load as load_version

tf = pytest.importorskip("tensorflow")
pytest.importorskip("tensorflow_serving")

from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc  # noqa: E402


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a model that no test changes."""
    root = tmp_path_factory.mktemp("made") / "m"
    write_tf1(root / "1")
    return root


@pytest.fixture
def model(made: Path, tmp_path: Path) -> Path:
    """Returns a model that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "m"))


@asynccontextmanager
async def served(model: Path, tmp_path: Path, **flags: Any) -> AsyncIterator[Server]:
    """Starts the server on free ports."""
    own = tmp_path / "own.yaml"
    # Flags cannot say "any port".
    ports = "" if flags.get("port") == 0 else "port: 0\nhttp_port: 0\n"
    own.write_text(f"host: 127.0.0.1\ngrace_seconds: 5\n{ports}")
    given = Flags(model_name="m", model_base_path=str(model), cvserve_config_file=str(own), **flags)
    start = read_start(given)
    async with Server(None, start.settings, models=start.models, load_model=loader(given, load_version)) as server:
        yield server


def request(*values: float) -> Any:
    message = predict_pb2.PredictRequest()
    message.model_spec.name = "m"
    message.inputs["x"].CopyFrom(tf.make_tensor_proto([[value] for value in values], "float32"))
    return message


async def predict(channel: grpc.aio.Channel, *values: float) -> Any:
    return await prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request(*values), timeout=10)


async def test_any_number_of_rows_without_batching_and_max_batch_size_with_it(model: Path, tmp_path: Path) -> None:
    async with served(model, tmp_path) as server, grpc.aio.insecure_channel(server.address) as channel:
        answer = await predict(channel, *range(1500))
        assert answer.outputs["y"].float_val[:3] == [2.0, 2.5, 3.0]
        assert len(answer.outputs["y"].float_val) == 1500
        assert "no batching" in server.describe()[0]
    (tmp_path / "batching.txt").write_text("max_batch_size { value: 4 }")
    flags = {"enable_batching": True, "batching_parameters_file": str(tmp_path / "batching.txt")}
    async with served(model, tmp_path, **flags) as server, grpc.aio.insecure_channel(server.address) as channel:
        assert (await predict(channel, 1, 2, 3, 4)).outputs["y"].float_val == [2.5, 3.0, 3.5, 4.0]
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await predict(channel, 1, 2, 3, 4, 5)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_channel_arguments_reach_grpc(model: Path, tmp_path: Path) -> None:
    flags = {"grpc_channel_arguments": "grpc.max_receive_message_length=1000"}
    async with served(model, tmp_path, **flags) as server, grpc.aio.insecure_channel(server.address) as channel:
        await predict(channel, 1)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await predict(channel, *range(1000))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_an_empty_config_file_serves_nothing_until_it_lists_something(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "models.config"
    path.write_text("")
    async with (
        served(model, tmp_path, model_config_file=str(path)) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await predict(channel, 2)
        assert refused.value.details() == "Servable not found for request: Latest(m)"
        path.write_text(
            f'model_config_list {{ config {{ name: "m" base_path: "{model}" model_platform: "tensorflow" '
            'version_labels { key: "stable" value: 7 } } }'
        )
        flags = Flags(model_config_file=str(path))
        with pytest.raises(FailedPrecondition, match="Request to assign label to version 7 of model m"):
            await server.engine.reconciler.apply(read_models(flags, server.engine.settings_of), confined=False)
        path.write_text(
            f'model_config_list {{ config {{ name: "m" base_path: "{model}" model_platform: "tensorflow" }} }}'
        )
        await server.engine.reconciler.apply(read_models(flags, server.engine.settings_of), confined=False)
        assert (await predict(channel, 2)).outputs["y"].float_val == [3.0]


async def test_answers_in_tensor_content(model: Path, tmp_path: Path) -> None:
    flags = {"enable_serialization_as_tensor_content": True}
    async with served(model, tmp_path, **flags) as server, grpc.aio.insecure_channel(server.address) as channel:
        tensor = (await predict(channel, 2, 4)).outputs["y"]
        assert not tensor.float_val
        assert tf.make_ndarray(tensor).tolist() == [[3.0], [4.0]]


async def test_tls_is_on_grpc_and_not_on_rest(model: Path, tmp_path: Path) -> None:
    authority = make_authority(tmp_path / "tls", "authority")
    own = make_certificate(tmp_path / "tls", "server", authority)
    client = make_certificate(tmp_path / "tls", "client", authority)
    text = "\n".join(
        f"{field}: {json.dumps(pem.decode())}"
        for field, pem in (("server_key", own.key_pem), ("server_cert", own.pem), ("custom_ca", authority.pem))
    )
    (tmp_path / "ssl.txt").write_text(f"{text}\nclient_verify: true\n")
    flags = {"ssl_config_file": str(tmp_path / "ssl.txt"), "grpc_socket_path": str(tmp_path / "grpc.sock")}
    async with served(model, tmp_path, **flags) as server:
        mutual = grpc.ssl_channel_credentials(authority.pem, client.key_pem, client.pem)
        for address in (server.address, f"unix:{tmp_path / 'grpc.sock'}"):
            named = [("grpc.ssl_target_name_override", "localhost")]
            async with grpc.aio.secure_channel(address, mutual, named) as channel:
                assert (await predict(channel, 2)).outputs["y"].float_val == [3.0]
        for stranger in (
            grpc.aio.insecure_channel(server.address),
            grpc.aio.insecure_channel(f"unix:{tmp_path / 'grpc.sock'}"),
            grpc.aio.secure_channel(server.address, grpc.ssl_channel_credentials(authority.pem)),
        ):
            async with stranger as channel:
                with pytest.raises(grpc.aio.AioRpcError):
                    await predict(channel, 2)
        assert server.http_address is not None
        body = b'{"instances": [2.0]}'
        answer = await to_thread(urllib.request.urlopen, f"{server.http_address}/v1/models/m:predict", body)
        assert server.http_address.startswith("http://")
        assert json.load(answer) == {"predictions": [3.0]}


async def test_only_a_unix_socket(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "grpc.sock"
    async with served(model, tmp_path, port=0, grpc_socket_path=str(path)) as server:
        assert (server.address, server.http_address) == (f"unix:{path}", None)
        async with grpc.aio.insecure_channel(server.address) as channel:
            assert (await predict(channel, 2)).outputs["y"].float_val == [3.0]
    with pytest.raises(InvalidInput, match=r"cannot listen on unix:.*nowhere/grpc\.sock: no socket can be made there"):
        async with served(model, tmp_path, port=0, grpc_socket_path=str(tmp_path / "nowhere" / "grpc.sock")):
            pass


async def test_batching_parameters_of_one_version(model: Path, tmp_path: Path) -> None:
    flags = {"enable_batching": True, "enable_per_model_batching_parameters": True}
    async with served(model, tmp_path, **flags) as server:
        assert "no batching" in server.describe()[0]
    (model / "1" / "batching_params.pbtxt").write_text(
        "max_batch_size { value: 6 } batch_timeout_micros { value: 2000 }"
    )
    async with served(model, tmp_path, **flags) as server:
        assert server.describe()[0].endswith("batches up to 6, delay 2 ms")


async def test_a_tflite_file_is_served_with_the_flag(model: Path, tmp_path: Path) -> None:
    shutil.copy(write_tflite(tmp_path / "lite") / "model.tflite", model / "1")
    for prefer, runtime in ((False, "tensorflow"), (True, "litert")):
        async with (
            served(model, tmp_path, prefer_tflite_model=prefer) as server,
            grpc.aio.insecure_channel(server.address) as channel,
        ):
            assert server.describe()[0].startswith(f"m version 1: {runtime},")
            assert (await predict(channel, 2)).outputs["y"].float_val == [3.0]


def load(directory: Path, **flags: Any) -> None:
    given = Flags(model_base_path=str(directory.parent), **flags)
    loader(given, load_version)(directory, read_start(given).models[0].settings).close()


def test_tags(tmp_path: Path) -> None:
    directory = write_tf1(tmp_path / "1", tags=("serve", "gpu"))
    load(directory, saved_model_tags="gpu,serve")
    with pytest.raises(ArtifactError, match=r"matching supplied tags: { serve tpu }"):
        load(directory, saved_model_tags="serve,tpu")


def test_warm_up(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    from tensorflow_serving.apis import prediction_log_pb2

    file = model / "1" / FILE
    file.parent.mkdir()
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(request(2))
    with tf.io.TFRecordWriter(str(file)) as writer:
        writer.write(log.SerializeToString())
    caplog.set_level("INFO", "cvserve")
    load(model / "1", num_request_iterations_for_warmup=3)
    assert [line for line in caplog.messages if "warm-up" in line] == [f"1 warm-up requests of {file} replayed"] * 3
    log.predict_log.request.model_spec.signature_name = "nothing"
    with tf.io.TFRecordWriter(str(file)) as writer:
        writer.write(log.SerializeToString())
    with pytest.raises(ArtifactError, match='Serving signature key "nothing" not found'):
        load(model / "1")
    load(model / "1", enable_model_warmup=False)
