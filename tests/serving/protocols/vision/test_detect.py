"""A detector behind the server: VisionService, streams, TensorFlow Serving's Predict, and the clients."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import cv2
import grpc
import numpy as np
import pytest
from serving_kit import jpeg, photo
from tiny_artifact import publish_tiny
from tiny_detector import LABELS, PREPROC, make_detector, make_images, postproc

from cvserve.client import AsyncClient, Client
from cvserve.errors import FailedPrecondition, ImageError, InvalidInput
from cvserve.pipeline import Pipeline
from cvserve.postproc import ClassificationResult, DetectionResult
from cvserve.preproc import decode
from cvserve.protos import vision_pb2, vision_pb2_grpc
from cvserve.serving import Server, ServerSettings

pytestmark = pytest.mark.slow

SHAPES = ((200, 120), (120, 200), (64, 48), (300, 40))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of the detector `animals` and the classifier `colors`."""
    pytest.importorskip("tensorflow_serving")
    from cvserve.export import export_model

    root = tmp_path_factory.mktemp("models")
    export_model(
        make_detector("distances"),
        root / "animals",
        task="detection",
        labels=LABELS,
        preproc=PREPROC,
        postproc=postproc("distances"),
        parity_images=make_images(8),
        formats=("saved_model", "onnx"),
    )
    publish_tiny(root / "colours")
    return root


@asynccontextmanager
async def serving(root: Path, runtime: str = "onnx", **settings: Any) -> AsyncIterator[Server]:
    values = {"host": "127.0.0.1", "port": 0, "grace_seconds": 5, "max_batch_size": 4, "instances": 1}
    async with Server(
        root, ServerSettings.model_validate(values | {"models": {"animals": {"runtime": runtime}}} | settings)
    ) as server:
        yield server


def assert_same(found: DetectionResult, wanted: DetectionResult) -> None:
    assert (found.image_width, found.image_height) == (wanted.image_width, wanted.image_height)
    assert [item.label for item in found] == [item.label for item in wanted]
    assert found.indexes.tolist() == wanted.indexes.tolist()
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-5)
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=1e-3)


async def test_boxes_come_back_in_the_images_own_coordinates(models: Path) -> None:
    """Images of several shapes, all of them letterboxed: the answer is the pipeline's own."""
    images = [photo(seed, width=width, height=height) for seed, (width, height) in enumerate(SHAPES)]
    with Pipeline.load(models / "animals", runtime="onnx", threads=1) as pipeline:
        wanted = pipeline(images)
    assert sum(len(item) for item in wanted) > 20  # type: ignore[arg-type]

    def ask(address: str) -> list[DetectionResult]:
        with Client(address) as client:
            found = [client.detect("animals", image) for image in images]
            assert list(client.detect_many("animals", images, concurrency=3)) == found
            return found

    async with serving(models) as server, AsyncClient(server.address) as client:
        found = await asyncio.to_thread(ask, server.address)
        assert [item async for item in client.detect_many("animals", images, concurrency=2)] == found
    for image, mine, theirs in zip(SHAPES, found, wanted, strict=True):
        assert isinstance(theirs, DetectionResult)
        assert (mine.image_width, mine.image_height) == image
        assert_same(mine, theirs)
        assert mine.boxes.min() >= 0
        assert (mine.boxes[:, 2:] <= image).all()


@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
async def test_a_rotated_image_is_answered_upright(models: Path, orientation: int) -> None:
    # Too small for a JPEG to be shrunk while it is decoded, so that the pixels are the same.
    turned = photo(3, orientation, width=92, height=60)
    upright = decode(turned)
    pixels = cv2.imencode(".png", upright[..., ::-1])[1].tobytes()
    async with serving(models) as server, AsyncClient(server.address) as client:
        found = await client.detect("animals", turned)
        assert (found.image_width, found.image_height) == (upright.shape[1], upright.shape[0])
        assert (found.image_width > found.image_height) == (orientation in (2, 3))
        assert len(found) > 2
        assert_same(found, await client.detect("animals", pixels))


async def test_options(models: Path) -> None:
    image = photo(1)
    async with serving(models) as server, AsyncClient(server.address) as client:
        plain = await client.detect("animals", image)
        assert plain.scores.min() >= 0.4  # the manifest's
        more = await client.detect("animals", image, score_threshold=0.05)
        assert len(more) > len(plain)
        assert more.scores.min() < 0.4
        best = await client.detect("animals", image, max_results=2)
        assert_same(best, plain[:2])
        sure = await client.detect("animals", image, score_threshold=0.6)
        assert_same(sure, plain[plain.scores >= 0.6])
        assert len(await client.detect("animals", image, score_threshold=1.0)) == 0
        for options, text in (
            ({"score_threshold": 1.5}, "score_threshold must be between 0 and 1"),
            ({"max_results": 0}, "max_results must be at least 1"),
        ):
            request = vision_pb2.DetectRequest(
                model=vision_pb2.ModelSpec(name="animals"), image=image, options=vision_pb2.Options(**options)
            )
            with pytest.raises(InvalidInput, match=text):
                await client._call(client._stub.Detect, request, None)
        with pytest.raises(ImageError, match="empty"):
            await server.engine.answer(_ref("animals"), b"")
        with pytest.raises(InvalidInput):
            await client.detect("animals", b"no image")


def _ref(name: str) -> Any:
    from cvserve.serving.core.engine import ModelRef

    return ModelRef(name)


async def test_the_wrong_method_names_the_right_one(models: Path) -> None:
    async with serving(models) as server, AsyncClient(server.address) as client:
        with pytest.raises(
            FailedPrecondition, match="'animals' does detection, not classification; ask it with Detect"
        ):
            await client.classify("animals", jpeg())
        with pytest.raises(
            FailedPrecondition, match="'colours' does classification, not detection; ask it with Classify"
        ):
            await client.detect("colours", jpeg())
        assert (await client.model_info("animals")).task == "detection"


async def test_a_stream_answers_as_the_model_does(models: Path) -> None:
    images = [photo(seed) for seed in range(3)]
    async with serving(models) as server, AsyncClient(server.address) as client:
        wanted = [await client.detect("animals", image, max_results=4) for image in images]
        answers = [answer async for answer in client.stream("animals", images, max_results=4)]
        for answer, result in zip(answers, wanted, strict=True):
            assert answer.version == 1
            assert isinstance(answer.value, DetectionResult)
            assert_same(answer.value, result)
        async for answer in client.stream("colours", [jpeg("green")]):
            assert isinstance(answer.value, ClassificationResult)


async def test_one_stream_can_use_models_of_several_tasks(models: Path) -> None:
    names = ("animals", "colours", "animals")
    async with serving(models) as server, grpc.aio.insecure_channel(server.address) as channel:
        call = vision_pb2_grpc.VisionServiceStub(channel).Stream()
        for number, name in enumerate(names):
            model = vision_pb2.ModelSpec(name=name)
            await call.write(vision_pb2.StreamRequest(model=model, frame_id=number, image=photo(1)))
        await call.done_writing()
        kinds = [answer.WhichOneof("answer") async for answer in call]
    assert kinds == ["detection", "classification", "detection"]


async def test_postprocessing_does_not_block_the_loop(models: Path) -> None:
    async with serving(models) as server, AsyncClient(server.address) as client:
        with server.engine.manager.acquire("animals") as servable:
            pipeline = servable.pipeline
        threads, finish = [], pipeline.finish

        def watched(*arguments: Any, **options: Any) -> Any:
            threads.append(threading.current_thread())
            return finish(*arguments, **options)

        pipeline.finish = watched  # type: ignore[method-assign]
        await client.detect("animals", photo(1))
    assert [thread is threading.main_thread() for thread in threads] == [False]


async def predict(address: str, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "animals", signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    async with grpc.aio.insecure_channel(address) as channel:
        answer = await prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request)
    return {name: tf.make_ndarray(tensor) for name, tensor in answer.outputs.items()}


async def signatures(address: str) -> list[str]:
    from tensorflow_serving.apis import get_model_metadata_pb2, prediction_service_pb2_grpc

    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "animals"
    async with grpc.aio.insecure_channel(address) as channel:
        answer = await prediction_service_pb2_grpc.PredictionServiceStub(channel).GetModelMetadata(request)
    found = get_model_metadata_pb2.SignatureDefMap()
    answer.metadata["signature_def"].Unpack(found)
    return sorted(found.signature_def)


async def test_predict_gives_raw_outputs_and_tensorflow_the_signature_detect(models: Path) -> None:
    images = make_images(3, seed=4)
    with Pipeline.load(models / "animals", runtime="onnx", threads=1) as pipeline:
        raw = pipeline.runtime.run({"images": images})
        wanted = pipeline(list(images))
    async with serving(models, "tensorflow") as server:
        answers = await predict(server.address, "", {"images": images})
        assert {name: values.shape for name, values in answers.items()} == {
            name: values.shape for name, values in raw.items()
        }
        np.testing.assert_allclose(answers["class_logits"], raw["class_logits"], atol=1e-4)
        found = await predict(server.address, "detect", {"images": images})
        assert await signatures(server.address) == ["bytes", "detect", "serving_default"]
    for index, result in enumerate(wanted):
        assert isinstance(result, DetectionResult)
        count = int(found["count"][index])
        assert count == len(result) > 0
        np.testing.assert_allclose(found["boxes"][index, :count], result.boxes, atol=1e-2)
        np.testing.assert_allclose(found["scores"][index, :count], result.scores, atol=1e-4)
        assert found["classes"][index, :count].tolist() == result.indexes.tolist()


async def test_the_error_of_another_runtime_names_the_one_with_the_signature(models: Path) -> None:
    async with serving(models) as server:
        assert await signatures(server.address) == ["bytes", "serving_default"]
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await predict(server.address, "detect", {"images": make_images(1)})
    assert error.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "run by onnx here: serve it with the runtime tensorflow" in (error.value.details() or "")


async def test_the_saved_model_alone_is_warmed_by_its_own_requests(models: Path, tmp_path: Path) -> None:
    """As TensorFlow Serving would: no manifest, four recorded requests, one of them for `detect`."""
    version = tmp_path / "animals" / "1"
    shutil.copytree(models / "animals" / "1", version, ignore=shutil.ignore_patterns("manifest.json", "*.onnx"))
    assert (version / "assets.extra" / "tf_serving_warmup_requests").is_file()
    async with serving(tmp_path, "tensorflow") as server:
        assert (await predict(server.address, "detect", {"images": make_images(2)}))["boxes"].shape[0] == 2
        assert {"bytes", "detect", "serving_default"} <= set(await signatures(server.address))
