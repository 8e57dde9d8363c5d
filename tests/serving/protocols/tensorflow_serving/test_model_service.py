"""Changes of models over a real socket: reload requests, labels, polling, broken versions."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from serving_kit import eventually, jpeg, repository
from tiny_artifact import publish_tiny

from cvserve.client import AsyncClient
from cvserve.errors import NotFound
from cvserve.serving import Server, ServerSettings
from cvserve.serving.core.settings import ModelConfig
from cvserve.serving.core.version_policy import All

pytest.importorskip("tensorflow_serving")

HERE = {"host": "127.0.0.1", "port": 0, "max_batch_size": 2, "instances": 1, "poll_seconds": 0.02}


@asynccontextmanager
async def stubs(server: Server) -> AsyncIterator[tuple[Any, Any]]:
    """The prediction and the model service."""
    from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

    async with grpc.aio.insecure_channel(server.address) as channel:
        yield (
            prediction_service_pb2_grpc.PredictionServiceStub(channel),
            model_service_pb2_grpc.ModelServiceStub(channel),
        )


def reload_request(text: str) -> Any:
    from google.protobuf import text_format
    from tensorflow_serving.apis import model_management_pb2

    request = model_management_pb2.ReloadConfigRequest()
    text_format.Parse(f"model_config_list {{ {text} }}", request.config)
    return request


def entry(name: str, path: Path, more: str = "") -> str:
    return f'config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow" {more} }}'


def spec(name: str, label: str = "", version: int | None = None) -> Any:
    from tensorflow_serving.apis import model_pb2

    made = model_pb2.ModelSpec(name=name)
    if label:
        made.version_label = label
    if version is not None:
        made.version.value = version
    return made


async def statuses(models: Any, name: str, **choice: Any) -> dict[int, tuple[int, int]]:
    """Version to state and error code."""
    from tensorflow_serving.apis import get_model_status_pb2

    answer = await models.GetModelStatus(get_model_status_pb2.GetModelStatusRequest(model_spec=spec(name, **choice)))
    return {each.version: (each.state, each.status.error_code) for each in answer.model_version_status}


async def predict(prediction: Any, name: str, **choice: Any) -> int:
    """Returns the version that answered."""
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest(model_spec=spec(name, **choice))
    request.model_spec.signature_name = "bytes"
    request.inputs["image_bytes"].dtype = 7
    request.inputs["image_bytes"].tensor_shape.dim.add().size = 1
    request.inputs["image_bytes"].string_val.append(jpeg())
    return int((await prediction.Predict(request)).model_spec.version.value)


async def refused(call: Any) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code().name, error.value.details() or ""


async def test_models_and_labels_by_reload(tmp_path: Path) -> None:
    root = repository(tmp_path / "models", "colours", "second")
    publish_tiny(root / "colours")
    async with Server(root, ServerSettings(**HERE)) as server, stubs(server) as (prediction, models):
        assert await predict(prediction, "colours") == 2
        both = "model_version_policy { specific { versions: 1 versions: 2 } }"
        answer = await models.HandleReloadConfigRequest(reload_request(entry("colours", root / "colours", both)))
        assert (answer.status.error_code, answer.status.error_message) == (0, "")
        assert await statuses(models, "colours") == {1: (30, 0), 2: (30, 0)}
        # Left out, hence unloaded.
        assert await statuses(models, "second") == {1: (50, 0)}
        code, text = await refused(predict(prediction, "second"))
        assert (code, text) == ("NOT_FOUND", "Servable not found for request: Latest(second)")
        labels = both + " version_labels { key: 'stable' value: 1 } version_labels { key: 'canary' value: 2 }"
        await models.HandleReloadConfigRequest(reload_request(entry("colours", root / "colours", labels)))
        assert await predict(prediction, "colours", label="stable") == 1
        assert await predict(prediction, "colours", label="canary") == 2
        assert await statuses(models, "colours", label="stable") == {1: (30, 0)}
        code, text = await refused(predict(prediction, "colours", label="x"))
        assert (code, text) == ("INVALID_ARGUMENT", "Unrecognized servable version label: x")


async def test_reloads_that_are_refused(tmp_path: Path) -> None:
    from tensorflow_serving.apis import model_management_pb2

    root = repository(tmp_path / "models", "colours")
    outside = repository(tmp_path / "elsewhere", "secret")
    (root / "link").symlink_to(outside / "secret")
    async with Server(root, ServerSettings(**HERE)) as server, stubs(server) as (prediction, models):
        here = root / "colours"
        wrong = [
            (entry("colours", here) * 2, "INVALID_ARGUMENT", "Illegal to list model colours multiple times"),
            (entry("colours", Path("colours")), "INVALID_ARGUMENT", "to have an absolute path or URI"),
            (entry("s", outside / "secret"), "INVALID_ARGUMENT", "lies outside the model repository"),
            (entry("s", root / ".." / "elsewhere" / "secret"), "INVALID_ARGUMENT", "lies outside the model repository"),
            (entry("s", root / "link"), "INVALID_ARGUMENT", "lies outside the model repository"),
            (entry("s", Path("/etc")), "INVALID_ARGUMENT", "lies outside the model repository"),
            (entry("s", root / "s"), "NOT_FOUND", "Could not find base path"),
            (
                entry("colours", here, "version_labels { key: 'a' value: 7 }"),
                "FAILED_PRECONDITION",
                "Request to assign label to version 7 of model colours, which is not currently available for inference",
            ),
        ]
        for text, code, words in wrong:
            answer = await refused(models.HandleReloadConfigRequest(reload_request(text)))
            assert answer[0] == code, text
            assert words in answer[1]
        for request in (
            model_management_pb2.ReloadConfigRequest(),
            model_management_pb2.ReloadConfigRequest(config={"custom_model_config": {}}),
        ):
            code, words = await refused(models.HandleReloadConfigRequest(request))
            assert code == "INVALID_ARGUMENT"
            assert "Only ModelConfigList is currently supported" in words
        assert await predict(prediction, "colours") == 1


async def test_polling_serves_published_versions_and_retries_broken_ones(tmp_path: Path) -> None:
    root = repository(tmp_path / "models", "colours")
    lines: list[str] = []
    async with Server(root, ServerSettings(**HERE), report=lines.append) as server, stubs(server) as (_, models):
        client = AsyncClient(server.address)
        # A partial copy: the manifest, and a truncated graph.
        staged = publish_tiny(tmp_path / "staging" / "colours")
        staged = publish_tiny(tmp_path / "staging" / "colours")
        target = root / "colours" / "2"
        shutil.copytree(staged.directory, target)
        whole = (target / "model.onnx").read_bytes()
        (target / "model.onnx").write_bytes(whole[:-10])
        await eventually(lambda: bool(lines))
        assert "does not match its hash" in lines[0]
        assert await statuses(models, "colours") == {1: (30, 0), 2: (50, 13)}
        assert (await client.classify("colours", jpeg())).best.label == "red"
        # The right size but other content: still refused.
        (target / "model.onnx").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        await asyncio.sleep(0.1)
        assert server.engine.manager.available("colours") == [1]
        (target / "model.onnx").write_bytes(whole)
        await eventually(lambda: server.engine.manager.available("colours") == [2])
        # A loaded version does not need its files.
        shutil.rmtree(root / "colours" / "1")
        (target / "model.onnx").unlink()
        assert (await client.classify("colours", jpeg("blue"))).best.label == "blue"
        publish_tiny(root / "third")
        await eventually(lambda: server.engine.manager.available("third") == [1])
        await client.close()
    assert [line for line in lines if "cannot be served" in line] == [lines[0]]
    assert "colours version 2 is served" in lines
    assert "colours version 1 is unloaded" in lines


async def test_models_without_a_repository(tmp_path: Path) -> None:
    root = repository(tmp_path / "models", "colours", "second")
    publish_tiny(root / "colours")
    outside = repository(tmp_path / "elsewhere", "other")
    listed = [ModelConfig("mine", root / "colours", All(), {"old": 1})]
    async with (
        Server(None, ServerSettings(**HERE), models=listed) as server,
        stubs(server) as (prediction, models),
    ):
        assert await predict(prediction, "mine", label="old") == 1
        assert await predict(prediction, "mine") == 2
        # A request may name what lies beside the models that the operator named, and nothing else.
        await models.HandleReloadConfigRequest(reload_request(entry("second", root / "second")))
        assert await predict(prediction, "second") == 1
        code, _ = await refused(models.HandleReloadConfigRequest(reload_request(entry("o", outside / "other"))))
        assert code == "INVALID_ARGUMENT"
        await server.engine.reconciler.apply([ModelConfig("o", outside / "other")], confined=False)
        assert await predict(prediction, "o") == 1


async def test_a_server_without_models_waits_for_a_list(tmp_path: Path) -> None:
    async with Server(None, ServerSettings(**HERE), models=[]) as server:
        client = AsyncClient(server.address)
        with pytest.raises(NotFound, match="Servable not found"):
            await client.classify("colours", jpeg())
        root = repository(tmp_path / "models")
        await server.engine.reconciler.apply([ModelConfig("colours", root / "colours")], confined=False)
        assert (await client.classify("colours", jpeg())).best.label == "red"
        await client.close()
