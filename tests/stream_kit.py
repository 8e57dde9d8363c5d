"""A stream of VisionService, written to and read from by tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from serving_kit import jpeg

from cvserve.protos import vision_pb2, vision_pb2_grpc
from cvserve.serving import Server
from cvserve.serving.protocols.vision.service import VisionService

COLORS = ("red", "green", "blue")


def frame(number: int, image: bytes | None = None, model: str | None = "colours", **fields: Any) -> Any:
    """A frame of the colour that belongs to its number."""
    spec = None if model is None else vision_pb2.ModelSpec(name=model)
    image = jpeg(COLORS[number % 3]) if image is None else image
    return vision_pb2.StreamRequest(model=spec, frame_id=number, image=image, **fields)


@asynccontextmanager
async def stream(server: Server, **call: Any) -> AsyncIterator[Any]:
    """A call of Stream, to `write` to and `read` from."""
    async with grpc.aio.insecure_channel(server.address) as channel:
        opened = vision_pb2_grpc.VisionServiceStub(channel).Stream(**call)
        yield opened
        opened.cancel()


def seen(answer: Any) -> tuple[int, str]:
    """The frame's number, and its best class or the status of its error."""
    if answer.HasField("error"):
        return answer.frame_id, answer.error.status
    return answer.frame_id, answer.classification.classes[0].label


def under_way(server: Server) -> int:
    return server.engine.in_flight


def open_streams(server: Server) -> int:
    """How many streams the vision service has open."""
    [service] = [each for endpoints in server.endpoints for each in endpoints.grpc if "Vision" in each.name]
    assert isinstance(service.servicer, VisionService)
    return len(service.servicer._streams)
