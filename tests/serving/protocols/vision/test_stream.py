"""VisionService/Stream over real sockets: order, flow control, bad frames, rights and counts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from serving_kit import PuppetRuntime, Serve, eventually, jpeg
from stream_kit import COLORS, frame, seen, stream, under_way

from cvserve.errors import Overloaded
from cvserve.postproc.results import ClassificationResult, ClassScore
from cvserve.protos import vision_pb2
from cvserve.serving.core.engine import ImageAnswer, ModelRef


async def test_answers_come_in_the_order_of_the_frames(serve: Serve) -> None:
    async with serve(max_batch_size=4) as server, stream(server) as call:

        async def send() -> None:
            for number in range(60):
                await call.write(frame(number))
            await call.done_writing()

        sending = asyncio.ensure_future(send())
        answers = [seen(answer) async for answer in call]
        await sending
        assert answers == [(number, COLORS[number % 3]) for number in range(60)]
        assert await call.code() is grpc.StatusCode.OK


async def test_an_early_answer_waits_for_the_frames_before_it(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime, max_batch_size=1) as server, stream(server) as call:
        runtime.gate.clear()
        await call.write(frame(1))
        await runtime.wait_for_call()
        # Refused at once, long before the graph has answered the first.
        await call.write(frame(2, b"no image"))
        reading = asyncio.ensure_future(call.read())
        await eventually(lambda: under_way(server) == 1)
        assert not reading.done()
        runtime.gate.set()
        assert seen(await reading) == (1, "green")
        assert seen(await call.read()) == (2, "INVALID_ARGUMENT")


async def test_frames_share_batches_and_no_more_are_read_than_the_window(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime, max_batch_size=2, stream_window=5) as server, stream(server) as call:
        runtime.gate.clear()
        for number in range(20):
            await call.write(frame(number))
        await call.done_writing()
        await eventually(lambda: under_way(server) == 5)
        await asyncio.sleep(0.2)
        assert under_way(server) == 5
        runtime.gate.set()
        assert [seen(answer)[0] async for answer in call] == list(range(20))
        assert max(runtime.batch_sizes) == 2


async def test_a_client_that_sends_faster_than_it_is_answered_has_to_wait(serve: Serve) -> None:
    async with serve(stream_window=2) as server, stream(server) as call:
        image = jpeg() + b"\0" * (1 << 18)
        sent = asked = 0

        async def send() -> None:
            nonlocal sent
            while True:
                await call.write(frame(sent, image))
                sent += 1

        async def never(*arguments: Any, **options: Any) -> Any:
            nonlocal asked
            asked += 1
            await asyncio.Event().wait()

        server.engine.answer = never  # type: ignore[method-assign]
        sending = asyncio.ensure_future(send())
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.1)
        assert asked == 2
        # What was sent beyond these lies in buffers of the connection, which gRPC bounds.
        assert sent < 256
        sending.cancel()


async def test_a_client_that_does_not_read_its_answers_has_to_wait(serve: Serve) -> None:
    async with serve(stream_window=2) as server, stream(server) as call:
        asked = 0
        long = ClassificationResult((ClassScore("x" * (1 << 20), 0, 1.0),))

        async def at_once(model: ModelRef, *arguments: Any, encode: Any, **options: Any) -> ImageAnswer:
            nonlocal asked
            asked += 1
            return ImageAnswer(ModelRef(model.name, 1), encode(long))

        async def send() -> None:
            for number in range(1000):
                await call.write(frame(number))

        server.engine.answer = at_once  # type: ignore[method-assign]
        sending = asyncio.ensure_future(send())
        await eventually(lambda: asked > 2)
        before = -1
        while before != asked:
            before = asked
            await asyncio.sleep(0.1)
        # A few answers lie in buffers of the connection.
        assert asked < 64
        assert [seen(await call.read())[0] for _ in range(before)] == list(range(before))
        await eventually(lambda: asked > before, 20)
        sending.cancel()


async def test_bad_frames_are_answered_in_their_place_and_the_stream_goes_on(serve: Serve) -> None:
    async with serve() as server, stream(server) as call:
        frames = [
            (frame(0), (0, "red")),
            (frame(1, b"no image"), (1, "INVALID_ARGUMENT")),
            (frame(2, b""), (2, "INVALID_ARGUMENT")),
            (frame(3, model="flowers"), (3, "NOT_FOUND")),
            (frame(4, options=vision_pb2.Options(top_k=0)), (4, "INVALID_ARGUMENT")),
            (frame(5, options=vision_pb2.Options(score_threshold=float("nan"))), (5, "INVALID_ARGUMENT")),
            (frame(6, timeout_ms=-1), (6, "INVALID_ARGUMENT")),
            (frame(-7), (-7, "blue")),
        ]
        for sent, expected in frames:
            await call.write(sent)
            assert seen(await call.read()) == expected
        await call.write(frame(8, model="flowers"))
        error = (await call.read()).error
        assert (error.code, error.message) == (5, "Servable not found for request: Latest(flowers)")
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


async def test_a_frame_that_is_not_a_message_is_answered_too(serve: Serve) -> None:
    async with serve() as server, grpc.aio.insecure_channel(server.address) as channel:
        call = channel.stream_stream(
            "/cvserve.v1.VisionService/Stream", response_deserializer=vision_pb2.StreamResponse.FromString
        )()
        await call.write(frame(1).SerializeToString())
        await call.write(b"\x0a\xff\xff\xff\xff\x0f")
        await call.write(frame(2).SerializeToString())
        await call.done_writing()
        answers = [answer async for answer in call]
        assert [seen(answer) for answer in answers] == [(1, "green"), (0, "INVALID_ARGUMENT"), (2, "blue")]
        assert "cannot be read" in answers[1].error.message


async def test_a_model_named_once_is_used_for_the_later_frames(serve: Serve) -> None:
    async with serve() as server, stream(server) as call:
        await call.write(frame(0, model=None))
        for number, model in ((1, "colours"), (2, None), (3, "flowers"), (4, None), (5, "colours"), (6, None)):
            await call.write(frame(number, model=model))
        await call.done_writing()
        first, *rest = [answer async for answer in call]
        assert first.error.message == "ModelSpec has no name specified."
        answers = [(1, "green"), (2, "blue"), (3, "NOT_FOUND"), (4, "NOT_FOUND"), (5, "blue"), (6, "red")]
        assert [seen(answer) for answer in rest] == answers


async def test_a_frame_has_its_own_deadline(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime, max_batch_size=1) as server, stream(server) as call:
        runtime.gate.clear()
        await call.write(frame(0, timeout_ms=100))
        await runtime.wait_for_call()
        assert seen(await call.read()) == (0, "DEADLINE_EXCEEDED")
        runtime.gate.set()
        await call.write(frame(1, timeout_ms=20_000))
        assert seen(await call.read()) == (1, "green")


async def test_a_graph_that_fails_affects_only_its_frame(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime, max_batch_size=1) as server, stream(server) as call:
        runtime.poison = int(decoded_red(jpeg("red")))
        await call.write(frame(0))
        answer = await call.read()
        assert seen(answer) == (0, "INTERNAL")
        assert "the graph met poison" in answer.error.message
        await call.write(frame(1))
        assert seen(await call.read()) == (1, "green")


def decoded_red(data: bytes) -> int:
    from cvserve.artifact import PreprocSpec
    from cvserve.preproc import preprocess

    return int(preprocess(data, PreprocSpec(height=16, width=16, resize="exact"))[0][0, 0, 0])


async def test_a_full_queue_gives_the_time_to_send_the_next_frame(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime, max_batch_size=1, max_queue_requests=1) as server, stream(server) as call:
        refused: list[Overloaded] = []
        answer = server.engine.answer

        async def watched(*arguments: Any, **options: Any) -> Any:
            try:
                return await answer(*arguments, **options)
            except Overloaded as error:
                refused.append(error)
                raise

        server.engine.answer = watched  # type: ignore[method-assign]
        runtime.gate.clear()
        await call.write(frame(0))
        await runtime.wait_for_call()
        for number in (1, 2):
            await call.write(frame(number))
        await eventually(lambda: len(refused) == 1)
        runtime.gate.set()
        answers = [await call.read() for _ in range(3)]
        assert [seen(answer) for answer in answers] == [(0, "red"), (1, "green"), (2, "RESOURCE_EXHAUSTED")]
        assert answers[2].error.retry_after_ms > 0


async def test_each_frame_needs_the_right_to_its_model(serve: Serve, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.yaml"
    tokens.write_text("tokens: [{token: of-colours, models: [colours]}]")
    async with serve(tokens=str(tokens)) as server:
        async with stream(server, metadata=(("authorization", "Bearer of-colours"),)) as call:
            await call.write(frame(1))
            await call.write(frame(2, model="flowers"))
            await call.write(frame(2))
            answers = [seen(await call.read()) for _ in range(3)]
            assert answers == [(1, "green"), (2, "PERMISSION_DENIED"), (2, "blue")]
        # Without a token the client does not learn the error of the next frame.
        for metadata in ((), (("authorization", "Bearer of-flowers"),)):
            async with stream(server, metadata=metadata) as call:
                await call.write(frame(1))
                with pytest.raises(grpc.aio.AioRpcError) as error:
                    await call.read()
                assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_each_frame_is_counted_as_a_request(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[tuple[str, str, int | None, str]] = []

    def count(api: str, model: str, version: int | None, code: str, seconds: float) -> None:
        assert seconds >= 0
        counted.append((api, model, version, code))

    async with serve() as server, stream(server) as call:
        monkeypatch.setattr(server.interceptor.observer, "request", count)
        for sent in (frame(0), frame(1, b"no image"), frame(2, model="flowers")):
            await call.write(sent)
            await call.read()
    assert counted == [
        ("Stream", "colours", 1, "OK"),
        ("Stream", "colours", None, "INVALID_ARGUMENT"),
        ("Stream", "flowers", None, "NOT_FOUND"),
    ]


async def test_a_frame_is_counted_for_its_own_model(
    serve: Serve, runtime: PuppetRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(runtime) as server, stream(server) as call:
        counted: list[tuple[str, str]] = []
        monkeypatch.setattr(
            server.interceptor.observer,
            "request",
            lambda api, model, version, code, seconds: counted.append((model, code)),
        )
        runtime.gate.clear()
        await call.write(frame(0))
        await runtime.wait_for_call()
        await call.write(frame(1, model="other"))
        await eventually(lambda: len(counted) == 1)
        runtime.gate.set()
        await call.read()
        await call.read()
        assert counted == [("other", "NOT_FOUND"), ("colours", "OK")]
