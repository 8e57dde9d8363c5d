"""VisionService over real sockets, with the light client."""

from __future__ import annotations

import functools
from pathlib import Path

import grpc
import numpy as np
import pytest
from serving_kit import PuppetRuntime, Serve, jpeg, photo
from tiny_artifact import LABELS

from cvserve.artifact import PreprocSpec
from cvserve.client import AsyncClient
from cvserve.errors import FailedPrecondition, InvalidInput, NotFound
from cvserve.pipeline import Pipeline
from cvserve.preproc import preprocess
from cvserve.protos import vision_pb2, vision_pb2_grpc
from cvserve.serving.core.engine import ModelRef
from cvserve.serving.protocols.vision.answers import check_method


async def test_an_image_is_answered_with_its_classes(serve: Serve) -> None:
    async with serve() as server, AsyncClient(server.address) as client:
        for color in LABELS:
            result = await client.classify("colours", jpeg(color), top_k=2)
            assert result.best.label == color
            assert result.best.index == LABELS.index(color)
            assert 0.99 < result.best.score <= 1
            assert len(result.classes) == 2
        assert len((await client.classify("colours", jpeg(), top_k=99)).classes) == 3
        assert len((await client.classify("colours", jpeg(), top_k=None)).classes) == 3


async def test_the_answer_is_the_pipelines_own(serve: Serve, tmp_path: Path) -> None:
    async with serve() as server, AsyncClient(server.address) as client:
        image = photo(7)
        served = await client.classify("colours", image, top_k=3)
    with Pipeline.load(tmp_path / "models" / "colours", threads=1) as pipeline:
        [own] = pipeline(image, top_k=3)
    assert [item.label for item in served.classes] == [item.label for item in own.classes]  # type: ignore[attr-defined]
    np.testing.assert_allclose(
        [item.score for item in served.classes],
        [item.score for item in own.classes],  # type: ignore[attr-defined]
        atol=1e-6,
    )


@pytest.mark.parametrize("image", [photo(1), photo(2, orientation=6), photo(3, width=1600, height=1200), jpeg()])
async def test_the_network_gets_the_same_bytes_as_from_the_pipeline(
    serve: Serve, runtime: PuppetRuntime, image: bytes
) -> None:
    async with serve(runtime) as server, AsyncClient(server.address) as client:
        await client.classify("colours", image)
    expected, _ = preprocess(image, PreprocSpec(height=16, width=16, resize="exact"))
    assert runtime.calls[-1].shape == (1, 16, 16, 3)
    assert runtime.calls[-1].tobytes() == expected.tobytes()


async def test_real_photos_reach_the_network_unchanged(serve: Serve, runtime: PuppetRuntime, shared: Path) -> None:
    photos = sorted((shared / "models" / "mobilenet_v2_imagenet_int8" / "photos").rglob("*.jp*g"))[:5]
    assert photos
    async with serve(runtime) as server, AsyncClient(server.address) as client:
        for path in photos:
            await client.classify("colours", path)
            expected, _ = preprocess(path, PreprocSpec(height=16, width=16, resize="exact"))
            assert runtime.calls[-1].tobytes() == expected.tobytes()


async def test_an_array_is_sent_without_loss(serve: Serve, runtime: PuppetRuntime) -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    async with serve(runtime) as server, AsyncClient(server.address) as client:
        await client.classify("colours", image)
    np.testing.assert_array_equal(runtime.calls[-1][0], image)


async def test_model_info(serve: Serve) -> None:
    async with serve() as server, AsyncClient(server.address) as client:
        info = await client.model_info("colours")
        assert (info.name, info.version, info.versions, info.task) == ("colours", 1, (1,), "classification")
        assert info.labels == LABELS
        assert (info.input_height, info.input_width, info.runtime) == (16, 16, "onnx")


async def test_errors_name_the_thing(serve: Serve) -> None:
    async with serve() as server, AsyncClient(server.address) as client:
        with pytest.raises(InvalidInput, match=r"image: .*images must be"):
            await client.classify("colours", b"this is a letter, not a photograph")
        with pytest.raises(InvalidInput, match="image: it is empty"):
            await client.classify("colours", b"")
        with pytest.raises(NotFound, match=r"Servable not found for request: Latest\(flowers\)"):
            await client.classify("flowers", jpeg())
        with pytest.raises(NotFound, match=r"Specific\(colours, 9\)"):
            await client.classify("colours", jpeg(), version=9)
        with pytest.raises(InvalidInput, match="ModelSpec has no name specified"):
            await client.model_info("")


async def test_values_that_only_a_raw_client_can_send(serve: Serve) -> None:
    async with serve() as server, grpc.aio.insecure_channel(server.address) as channel:
        stub = vision_pb2_grpc.VisionServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.Classify(
                vision_pb2.ClassifyRequest(model=vision_pb2.ModelSpec(name="colours"), image=jpeg(), top_k=-1)
            )
        assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert error.value.details() == "top_k must be at least 1, not -1"
        # A version of 0 is a version, not "the newest".
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.Classify(
                vision_pb2.ClassifyRequest(model=vision_pb2.ModelSpec(name="colours", version=0), image=jpeg())
            )
        assert error.value.code() is grpc.StatusCode.NOT_FOUND


async def test_another_task_is_refused_by_name(serve: Serve) -> None:
    async with serve() as server:
        with server.engine.manager.acquire("colours") as servable:
            pipeline = servable.pipeline
            pipeline.manifest = pipeline.manifest.model_copy(update={"task": "detection"})
        check = functools.partial(check_method, method="Classify", name="colours")
        with pytest.raises(FailedPrecondition, match="does detection, not classification; ask it with Detect"):
            await server.engine.answer(ModelRef("colours"), jpeg(), check=check)
