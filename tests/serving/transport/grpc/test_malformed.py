"""Messages that are not protobufs, sent to every method of every service: each gets INVALID_ARGUMENT."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import grpc
import pytest
from serving_kit import Serve, jpeg

from cvserve.client import AsyncClient
from cvserve.protos import vision_pb2

ONE_ANSWER = [
    "cvserve.v1.VisionService/Classify",
    "cvserve.v1.VisionService/Detect",
    "cvserve.v1.VisionService/Segment",
    "cvserve.v1.VisionService/Caption",
    "cvserve.v1.VisionService/GetModelInfo",
    "tensorflow.serving.PredictionService/Predict",
    "tensorflow.serving.PredictionService/Classify",
    "tensorflow.serving.PredictionService/Regress",
    "tensorflow.serving.PredictionService/MultiInference",
    "tensorflow.serving.PredictionService/GetModelMetadata",
    "tensorflow.serving.ModelService/GetModelStatus",
    "tensorflow.serving.ModelService/HandleReloadConfigRequest",
    "grpc.health.v1.Health/Check",
]

BAD = {
    "a length beyond the end": b"\x0a\xff\xff\xff\xff\x0f",
    "a tag without its field": b"\x0a",
    "a number without its end": b"\x08\x80\x80",
    "a group that is not closed": b"\x0b",
    "wire type 7": b"\x0f\x01",
    "field number 0": b"\x02\x01a",
    "a varint of eleven bytes": b"\x08" + b"\xff" * 11,
}


async def code_of(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code(), error.value.details() or ""


async def test_every_method_answers_invalid_argument(serve: Serve) -> None:
    async with serve() as server, grpc.aio.insecure_channel(server.address) as channel:
        for method in ONE_ANSWER:
            for what, message in BAD.items():
                code, text = await code_of(channel.unary_unary(f"/{method}")(message))
                assert code is grpc.StatusCode.INVALID_ARGUMENT, (method, what, text)
                assert "cannot be read" in text
        async with AsyncClient(server.address) as client:
            assert (await client.classify("colours", jpeg("blue"))).best.label == "blue"


async def read_all(call: Any) -> None:
    async for _ in call:
        pass


async def test_text_that_is_not_utf8(serve: Serve) -> None:
    async with serve() as server, grpc.aio.insecure_channel(server.address) as channel:
        # ClassifyRequest.model.name
        code, text = await code_of(
            channel.unary_unary("/cvserve.v1.VisionService/Classify")(b"\x0a\x04\x0a\x02\xff\xfe")
        )
        assert (code, "cannot be read" in text) == (grpc.StatusCode.INVALID_ARGUMENT, True)


@pytest.mark.parametrize("message", BAD.values(), ids=BAD.keys())
async def test_streams_answer_invalid_argument_too(serve: Serve, message: bytes) -> None:
    async with serve() as server, grpc.aio.insecure_channel(server.address) as channel:
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(message)
        assert (await code_of(read_all(watch)))[0] is grpc.StatusCode.INVALID_ARGUMENT
        for name in ("v1alpha", "v1"):
            reflect = channel.stream_stream(f"/grpc.reflection.{name}.ServerReflection/ServerReflectionInfo")
            assert (await code_of(read_all(reflect(iter([message])))))[0] is grpc.StatusCode.INVALID_ARGUMENT


def damaged(random: random.Random, message: bytes) -> bytes:
    """Returns the message with a piece cut out, bytes changed, or a piece doubled."""
    start = random.randrange(len(message))
    end = min(len(message), start + random.choice((1, 2, 8, 64)))
    kind = random.randrange(4)
    if kind == 0:
        return message[:start]
    if kind == 1:
        return message[:start] + message[end:]
    if kind == 2:
        return message[:start] + random.randbytes(end - start) + message[end:]
    return message[:end] + message[start:]


async def test_a_damaged_message_is_never_an_error_of_the_server(serve: Serve) -> None:
    """Each message is answered with an error of the client, and a valid one after it with a result."""
    image = jpeg()
    options = vision_pb2.Options(top_k=2, score_threshold=0.25, max_results=3, mask_format=vision_pb2.MASK_FORMAT_PNG)
    spec = vision_pb2.ModelSpec(name="colours", version=1)
    good = vision_pb2.StreamRequest(
        model=spec, frame_id=7, image=image, timeout_ms=60_000, options=options
    ).SerializeToString()
    ours, bad = random.Random(17), {"INTERNAL", "UNKNOWN", "UNAVAILABLE", "DATA_LOSS"}
    statuses: Counter[str] = Counter()
    async with serve() as server, grpc.aio.insecure_channel(server.address) as channel:
        call = channel.stream_stream(
            "/cvserve.v1.VisionService/Stream", response_deserializer=vision_pb2.StreamResponse.FromString
        )()
        for _ in range(1500):
            message = damaged(ours, good)
            await call.write(message)
            status = (await call.read()).error.status or "OK"
            statuses[status] += 1
            assert status not in bad, message.hex()
        await call.write(good)
        assert (await call.read()).classification.classes[0].label == "red"
    # Some images can be decoded without a few bytes.
    assert {"OK", "INVALID_ARGUMENT"} <= set(statuses)


async def test_an_unknown_method(serve: Serve) -> None:
    async with serve() as server, grpc.aio.insecure_channel(server.address) as channel:
        for method in ("cvserve.v1.VisionService/Paint", "cvserve.v2.VisionService/Classify"):
            code, _ = await code_of(channel.unary_unary(f"/{method}")(b""))
            assert code is grpc.StatusCode.UNIMPLEMENTED
