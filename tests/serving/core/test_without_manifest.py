"""Models without a manifest of every kind, over a real socket: strings, tables, odd shapes, defaults, versions copied
in part."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import half_plus_two
import numpy as np
import pytest
import saved_models
from tiny_artifact import publish_tiny

from cvserve.errors import ArtifactError, NotFound
from cvserve.serving import Server, ServerSettings
from cvserve.serving.core import without_manifest
from cvserve.serving.core.batching.execution import size_of
from cvserve.serving.core.engine import ModelRef
from cvserve.serving.core.settings import ModelSettings

tf = pytest.importorskip("tensorflow")
pytest.importorskip("tensorflow_serving")

from tensorflow_serving.apis import (  # noqa: E402
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

CODES = grpc.StatusCode


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("without_manifest")
    saved_models.write_words(root / "words" / "1")
    saved_models.write_kinds(root / "kinds" / "7")
    return root


@asynccontextmanager
async def asking(path: Path, **settings: Any) -> AsyncIterator[tuple[Server, Any]]:
    values = ServerSettings(**({"host": "127.0.0.1", "port": 0, "http_port": -1, "grace_seconds": 5} | settings))
    async with Server(path, values) as server, grpc.aio.insecure_channel(server.address) as channel:
        yield server, prediction_service_pb2_grpc.PredictionServiceStub(channel)


def predict(name: str, signature: str = "", **inputs: Any) -> Any:
    message = predict_pb2.PredictRequest()
    message.model_spec.name = name
    message.model_spec.signature_name = signature
    for alias, value in inputs.items():
        message.inputs[alias].CopyFrom(tf.make_tensor_proto(value))
    return message


async def answer(call: Any) -> dict[str, Any]:
    return {name: tf.make_ndarray(tensor) for name, tensor in (await call).outputs.items()}


async def code_and_text(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code(), error.value.details() or ""


async def test_strings_and_tables(models: Path) -> None:
    async with asking(models) as (_, ask):
        found = await answer(ask.Predict(predict("words", words=[b"blue", b"\xff", b"red"]), timeout=10))
        assert found["ids"].tolist() == [2, -1, 0]
        assert found["again"].tolist() == [b"blue!\xff", b"\xff!\xff", b"red!\xff"]
        # A table without entries for them, shared batches, and answers that go back to their own requests.
        words = [b"red", b"green", b"blue", b"none"] * 8
        answers = await asyncio.gather(*(answer(ask.Predict(predict("words", words=[word]))) for word in words))
        assert [int(one["ids"][0]) for one in answers] == [0, 1, 2, -1] * 8
        found = await answer(ask.Predict(predict("kinds", "scalar", word=b"green"), timeout=10))
        assert (found["number"].shape, int(found["number"]), found["upper"][()]) == ((), 6, b"GREEN")


async def test_outputs_without_a_batch_keep_requests_apart(models: Path) -> None:
    async with asking(models, batch_delay_ms=50) as (_, ask):
        rows = [np.full((count, 2), count, np.float32) for count in (1, 2, 3, 40)]
        answers = await asyncio.gather(*(answer(ask.Predict(predict("kinds", "total", x=x))) for x in rows))
        for x, found in zip(rows, answers, strict=True):
            assert float(found["total"]) == x.sum()
            np.testing.assert_array_equal(found["rows"], x + 1)
        assert (await answer(ask.Predict(predict("kinds", "count"), timeout=10)))["calls"].shape == ()


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3, 4), (40, 1)])
async def test_shapes_are_checked_by_the_graph_only(models: Path, shape: tuple[int, ...]) -> None:
    async with asking(models) as (_, ask):
        x = np.ones(shape, np.float32)
        found = await answer(ask.Predict(predict("kinds", "unranked", x=x), timeout=10))
        np.testing.assert_array_equal(found["y"], x * 2)


async def test_an_error_of_the_graph_is_an_error_of_the_client(models: Path) -> None:
    async with asking(models, batch_delay_ms=50) as (_, ask):
        good, bad = np.ones((1, 2), np.float32), np.ones((1, 5), np.float32)
        faulty = code_and_text(ask.Predict(predict("kinds", "product", x=bad), timeout=10))
        results = await asyncio.gather(answer(ask.Predict(predict("kinds", "product", x=good), timeout=10)), faulty)
        np.testing.assert_array_equal(results[0]["y"], [[2, 2, 2]])
        assert results[1][0] is CODES.INVALID_ARGUMENT
        assert "incompatible" in results[1][1]
        code, text = await code_and_text(ask.Predict(predict("kinds", "product", x=[[1, 2]]), timeout=10))
        assert (code, text) == (
            CODES.INVALID_ARGUMENT,
            "input 'x' is int32, but signature 'product' takes float32",
        )
        code, _ = await code_and_text(ask.Predict(predict("kinds", "__saved_model_init_op"), timeout=10))
        assert code is CODES.INVALID_ARGUMENT


async def test_a_model_without_a_default_signature(models: Path) -> None:
    async with asking(models) as (_, ask):
        assert await code_and_text(ask.Predict(predict("kinds", x=[1.0]), timeout=10)) == (
            CODES.FAILED_PRECONDITION,
            'Serving signature key "serving_default" not found.',
        )


async def test_inputs_with_defaults_may_be_left_out(tmp_path: Path) -> None:
    directory = saved_models.write_kinds(tmp_path / "kinds" / "1")
    saved_models.rewrite(directory, defaults={"scaled": {"scale": 3.0}})
    x = np.array([1, 2], np.float32)
    async with asking(tmp_path) as (_, ask):
        found = await answer(ask.Predict(predict("kinds", "scaled", x=x), timeout=10))
        assert found["y"].tolist() == [3.0, 6.0]
        found = await answer(ask.Predict(predict("kinds", "scaled", x=x, scale=np.float32(5)), timeout=10))
        assert found["y"].tolist() == [5.0, 10.0]
        code, text = await code_and_text(ask.Predict(predict("kinds", "scaled", scale=np.float32(5)), timeout=10))
        assert code is CODES.INVALID_ARGUMENT
        assert text == (
            "Signature input alias: x(feed name: scaled_x:0) not found in request and no default value provided. "
            "Inputs expected to be in the request {scale}, or default input alias set: scale"
        )
        code, text = await code_and_text(ask.Predict(predict("kinds", "total"), timeout=10))
        assert text.startswith("input size does not match signature: 0!=1 len({}) != len({x}).")
        # Clients do not get the values, as in TensorFlow Serving since 2.20.
        message = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        message.model_spec.name = "kinds"
        packed = (await ask.GetModelMetadata(message, timeout=10)).metadata["signature_def"]
        definitions = get_model_metadata_pb2.SignatureDefMap()
        assert packed.Unpack(definitions)
        assert not definitions.signature_def["scaled"].defaults
        assert definitions.signature_def["unranked"].inputs["x"].tensor_shape.unknown_rank


def test_which_requests_are_batched(models: Path) -> None:
    loaded = without_manifest.load(models / "kinds" / "7", ModelSettings())
    batched = {key for key, signature in loaded.signatures.items() if signature.batched}
    loaded.close()
    # Not those with an output, or an input, of which nothing is known or that has no first dimension.
    assert batched == {"product", "rare"}


def test_one_replica_of_a_saved_model_serves_all_workers(models: Path) -> None:
    loaded = without_manifest.load(models / "words" / "1", ModelSettings(instances=3, threads=1, max_batch_size=4))
    assert loaded.signatures["serving_default"].batched
    assert loaded.describe() == "tensorflow, 3 instances x 1 thread, batches up to 4, delay 0 ms"
    assert len({id(graph) for graph in loaded.graphs}) == 1
    assert loaded.manifest is None
    loaded.close()


def test_a_saved_model_is_preferred_to_a_tflite_file_unless_the_settings_name_litert(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    directory = half_plus_two.write_tf1(tmp_path / "1")
    lite = half_plus_two.write_tflite(tmp_path / "lite")
    (lite / "model.tflite").rename(directory / "model.tflite")
    for runtime, expected in (("auto", "tensorflow"), ("litert", "litert")):
        loaded = without_manifest.load(directory, ModelSettings(runtime=runtime))
        assert loaded.runtime_name == expected
        loaded.close()
    with pytest.raises(NotFound, match="no model for the runtime onnx"):
        without_manifest.load(directory, ModelSettings(runtime="onnx"))


def test_several_tflite_files_need_one_called_model(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    directory = half_plus_two.write_tflite(tmp_path / "1")
    data = (directory / "model.tflite").read_bytes()
    (directory / "other.tflite").write_bytes(data)
    without_manifest.load(directory, ModelSettings()).close()
    (directory / "model.tflite").rename(directory / "another.tflite")
    with pytest.raises(ArtifactError, match=r"several .tflite files \(another.tflite, other.tflite\)"):
        without_manifest.load(directory, ModelSettings())
    (directory / "other.tflite").unlink()
    without_manifest.load(directory, ModelSettings()).close()
    (directory / "another.tflite").write_bytes(data[:100])
    with pytest.raises(ArtifactError):
        without_manifest.load(directory, ModelSettings())


@pytest.fixture
def partial_copy(tmp_path: Path) -> Path:
    """Makes version 2, whose manifest is still missing, beside a complete version 1. It could also be a model of
    another tool."""
    publish_tiny(tmp_path / "models" / "colours")
    directory = publish_tiny(tmp_path / "models" / "colours").directory
    (directory / "manifest.json").rename(tmp_path / "manifest.json")
    half_plus_two.write_tf2(directory)
    return directory


def serving(path: Path, **settings: Any) -> Server:
    values = {"host": "127.0.0.1", "port": 0, "http_port": -1, "poll_seconds": 0, "instances": 1, "max_batch_size": 1}
    return Server(path, ServerSettings(**values, **settings))


async def test_a_version_copied_in_part_is_not_served_until_its_manifest_arrives(
    partial_copy: Path, tmp_path: Path
) -> None:
    """Many tools copy it last. The server may have been started meanwhile."""
    for policy in ("latest", "all"):
        async with serving(tmp_path / "models", versions=policy) as server:
            engine = server.engine
            assert engine.manager.available("colours") == [1]
            assert "has no manifest.json, which version 1 has" in str(engine.manager.status("colours", 2)[0].error)
    async with serving(tmp_path / "models") as server:
        engine = server.engine
        (tmp_path / "manifest.json").rename(partial_copy / "manifest.json")
        await engine.reconciler.poll()
        assert engine.manager.available("colours") == [2]
        assert engine.model_info(ModelRef("colours")).servable.manifest is not None


async def test_a_version_without_a_manifest_is_served_if_explicitly_requested(
    partial_copy: Path, tmp_path: Path
) -> None:
    async with serving(tmp_path / "models", versions=[1, 2]) as server:
        assert server.engine.manager.available("colours") == [1, 2]
        await server.engine.reconciler.reload("colours")
        assert server.engine.manager.available("colours") == [1, 2]
    async with serving(tmp_path / "models") as server:
        await server.engine.reconciler.load("colours", 2)
        assert server.engine.manager.available("colours") == [2]
    async with serving(partial_copy) as server:
        assert server.engine.manager.available("colours") == [2]
    # Older than all versions with a manifest: it was served before cvserve exported the model.
    partial_copy.rename(partial_copy.with_name("0"))
    async with serving(tmp_path / "models", versions="all") as server:
        assert server.engine.manager.available("colours") == [0, 1]


def test_a_directory_with_a_manifest_is_a_model_with_one(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").touch()
    assert without_manifest.is_without_manifest(tmp_path)
    (tmp_path / "manifest.json").touch()
    assert not without_manifest.is_without_manifest(tmp_path)
    (tmp_path / "manifest.json").unlink()
    (tmp_path / "saved_model.pb").unlink()
    assert not without_manifest.is_without_manifest(tmp_path)


async def test_an_int8_tflite_file_of_another_tool(shared: Path, tmp_path: Path) -> None:
    litert = pytest.importorskip("cvserve.runtimes.litert")
    file = shared / "models" / "mobilenet_v2_imagenet_int8" / "model.tflite"
    if not file.is_file():
        pytest.skip("the shared models are not beside this checkout")
    (tmp_path / "mobilenet" / "1").mkdir(parents=True)
    shutil.copy(file, tmp_path / "mobilenet" / "1")
    runtime = litert.LiteRtRuntime(file)
    [(name, info)] = runtime.inputs.items()
    x = np.random.default_rng(0).integers(-128, 128, (2, *info.shape[1:]), np.int8)
    async with asking(tmp_path) as (_, ask):
        found = await answer(ask.Predict(predict("mobilenet", **{name: x}), timeout=30))
    expected = runtime.run({name: x})
    for key, value in expected.items():
        assert found[key].dtype == np.int8
        np.testing.assert_array_equal(found[key], value)


class Looked:
    """Stands for a string of eight bytes, and counts how often its length is read."""

    times = 0

    def __len__(self) -> int:
        self.times += 1
        return 8


@pytest.mark.parametrize("count", [0, 1, 4096, 4097, 1_000_000])
def test_the_bytes_of_strings_are_estimated_without_reading_each_string(count: int) -> None:
    one = Looked()
    assert size_of({"s": np.full(count, one, object), "x": np.zeros(3, np.float32)}) == count * 16 + 12
    assert one.times <= 4096
    assert size_of({"s": np.array(b"abc", object)}) == 8 + 3
