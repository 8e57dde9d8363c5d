"""VisionService: options of a request, labels of versions, and models of another task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from serving_kit import Serve, jpeg, pixels, repository
from tiny_artifact import publish_tiny

from cvserve.client import AsyncClient
from cvserve.errors import InvalidInput, NotFound
from cvserve.protos import vision_pb2, vision_pb2_grpc
from cvserve.serving import Server, ServerSettings


def request(**options: Any) -> Any:
    return vision_pb2.ClassifyRequest(
        model=vision_pb2.ModelSpec(name="colours"), image=jpeg(), options=vision_pb2.Options(**options)
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 3),
        ({"top_k": 2}, 2),
        ({"top_k": 99}, 3),
        ({"max_results": 1}, 1),
        ({"max_results": 2, "top_k": 3}, 2),
        ({"max_results": 3, "top_k": 1}, 1),
        ({"score_threshold": 0.5}, 1),
        ({"score_threshold": 0.0}, 3),
        # Of no use to classification.
        ({"mask_format": vision_pb2.MASK_FORMAT_PNG}, 3),
    ],
)
async def test_options(serve: Serve, options: dict[str, Any], expected: int) -> None:
    async with serve() as server, grpc.aio.insecure_channel(server.address) as channel:
        answer = await vision_pb2_grpc.VisionServiceStub(channel).Classify(request(**options))
        assert answer.classes[0].label == "red"
        assert len(answer.classes) == expected


async def test_there_may_be_no_class_above_the_threshold(serve: Serve) -> None:
    # e / (e + 2) = 0.58 for red, 0.21 for each of the others.
    dim = pixels("red", brightness=10)
    async with serve() as server, AsyncClient(server.address) as client:
        for threshold, expected in ((0.2, 3), (0.5, 1), (0.6, 0)):
            assert len((await client.classify("colours", dim, score_threshold=threshold)).classes) == expected


async def test_the_top_k_of_the_options_overrides_the_other(serve: Serve) -> None:
    async with serve() as server, grpc.aio.insecure_channel(server.address) as channel:
        stub = vision_pb2_grpc.VisionServiceStub(channel)
        both = request(top_k=1)
        both.top_k = 3
        assert len((await stub.Classify(both)).classes) == 1
        outside = request(max_results=3)
        outside.top_k = 2
        assert len((await stub.Classify(outside)).classes) == 2


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"top_k": 0}, "top_k must be at least 1, not 0"),
        ({"top_k": -3}, "top_k must be at least 1, not -3"),
        ({"max_results": 0}, "max_results must be at least 1, not 0"),
        ({"score_threshold": 1.5}, "score_threshold must be between 0 and 1, not 1.5"),
        ({"score_threshold": float("nan")}, "score_threshold must be between 0 and 1, not nan"),
        ({"mask_format": 77}, "mask_format 77 is not known to this version"),
    ],
)
async def test_options_out_of_their_range(serve: Serve, options: dict[str, Any], text: str) -> None:
    async with serve() as server, grpc.aio.insecure_channel(server.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await vision_pb2_grpc.VisionServiceStub(channel).Classify(request(**options))
        assert (error.value.code(), error.value.details()) == (grpc.StatusCode.INVALID_ARGUMENT, text)


async def test_a_model_of_another_task_does_not_answer(serve: Serve) -> None:
    async with serve() as server, grpc.aio.insecure_channel(server.address) as channel:
        request = vision_pb2.CaptionRequest(model=vision_pb2.ModelSpec(name="colours"), image=jpeg())
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await vision_pb2_grpc.VisionServiceStub(channel).Caption(request)
        assert error.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_versions_by_label(tmp_path: Path) -> None:
    root = repository(tmp_path / "models")
    publish_tiny(root / "colours")
    settings = ServerSettings(
        host="127.0.0.1", port=0, max_batch_size=1, versions="all", models={"colours": {"labels": {"stable": 1}}}
    )
    async with Server(root, settings) as server, AsyncClient(server.address) as client:
        assert (await client.model_info("colours")).version == 2
        info = await client.model_info("colours", label="stable")
        assert (info.version, info.versions, info.version_labels) == (1, (1, 2), {"stable": 1})
        assert (await client.classify("colours", jpeg("blue"), label="stable")).best.label == "blue"
        with pytest.raises(InvalidInput, match="Unrecognized servable version label: canary"):
            await client.classify("colours", jpeg(), label="canary")
        with pytest.raises(InvalidInput, match="ask for version 1 or for label 'stable', not for both"):
            await client.classify("colours", jpeg(), version=1, label="stable")
        with pytest.raises(NotFound):
            await client.model_info("colours", version=3)
    async with (
        Server(root, settings) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        both = vision_pb2.ModelSpec(name="colours", version=1, label="stable")
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await vision_pb2_grpc.VisionServiceStub(channel).GetModelInfo(vision_pb2.GetModelInfoRequest(model=both))
        assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
