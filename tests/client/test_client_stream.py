"""`Client.stream` and `AsyncClient.stream` against a small service of the same protocol."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest

from cvserve import errors
from cvserve.client import AsyncClient, Client, FrameAnswer, Health
from cvserve.client.messages import Ask
from cvserve.postproc.results import CaptionResult, Detection
from cvserve.protos import vision_pb2, vision_pb2_grpc


class Frames(vision_pb2_grpc.VisionServiceServicer):
    """Answers with the image's length as label; "bad" is refused, "busy" is overloaded, "end" ends the stream."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.metadata: dict[str, str] = {}
        self.ended = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()

    def Stream(self, frames: Any, context: Any) -> Iterator[Any]:
        self.metadata = dict(context.invocation_metadata())
        context.add_callback(self.ended.set)
        for frame in frames:
            self.requests.append(frame)
            assert self.may_answer.wait(10)
            yield self.answer(frame, context)

    def answer(self, frame: Any, context: Any) -> Any:
        if frame.image == b"end":
            context.abort(grpc.StatusCode.UNAVAILABLE, "the server is shutting down")
        if frame.image == b"bad":
            fault = vision_pb2.FrameError(code=3, status="INVALID_ARGUMENT", message="image: no image")
            return vision_pb2.StreamResponse(frame_id=frame.frame_id, error=fault)
        if frame.image == b"busy":
            fault = vision_pb2.FrameError(code=8, status="RESOURCE_EXHAUSTED", message="full", retry_after_ms=250)
            return vision_pb2.StreamResponse(frame_id=frame.frame_id, error=fault)
        if frame.image == b"words":
            return vision_pb2.StreamResponse(frame_id=frame.frame_id, caption=vision_pb2.CaptionResponse())
        if frame.image == b"boxes":
            found = vision_pb2.DetectedObject(label="cat", index=1, score=0.5, box=vision_pb2.Box(x_max=2, y_max=3))
            return vision_pb2.StreamResponse(
                frame_id=frame.frame_id,
                detection=vision_pb2.DetectResponse(objects=[found], image_width=4, image_height=5),
            )
        score = vision_pb2.ClassScore(label=str(len(frame.image)), index=0, score=1)
        found = vision_pb2.ClassifyResponse(model=vision_pb2.ModelSpec(name="m", version=4), classes=[score])
        return vision_pb2.StreamResponse(frame_id=frame.frame_id, classification=found)


@pytest.fixture
def service() -> Frames:
    return Frames()


@pytest.fixture
def target(service: Frames) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(8))
    vision_pb2_grpc.add_VisionServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    service.may_answer.set()
    server.stop(None)


def labels(answers: Iterable[FrameAnswer]) -> list[str]:
    return [answer.value.best.label for answer in answers]


def collect(answers: Iterable[FrameAnswer], seen: list[FrameAnswer]) -> None:
    for answer in answers:
        seen.append(answer)


async def collect_awaited(answers: AsyncIterator[FrameAnswer], seen: list[FrameAnswer]) -> None:
    async for answer in answers:
        seen.append(answer)


def test_answers_in_order(target: str, service: Frames) -> None:
    with Client(target) as client:
        answers = list(client.stream("m", [b"x" * size for size in range(1, 30)], top_k=2, request_id="film-1"))
    assert [answer.frame for answer in answers] == list(range(29))
    assert labels(answers) == [str(size) for size in range(1, 30)]
    assert {answer.version for answer in answers} == {4}
    first, *rest = service.requests
    assert (first.model.name, first.options.top_k) == ("m", 2)
    assert not any(frame.HasField("model") for frame in rest)
    assert service.metadata["x-request-id"] == "film-1"


def test_a_bad_frame_is_an_answer(target: str) -> None:
    with Client(target) as client:
        good, bad, busy, words, boxes, after = client.stream("m", [b"a", b"bad", b"busy", b"words", b"boxes", b"bc"])
    assert labels([good, after]) == ["1", "2"]
    with pytest.raises(errors.InvalidInput, match=f"{target}: image: no image"):
        _ = bad.value
    assert (type(busy.error), busy.error.retry_after) == (errors.Overloaded, 0.25)  # type: ignore[union-attr]
    assert words.value == CaptionResult(())
    assert list(boxes.value) == [Detection("cat", 1, 0.5, (0.0, 0.0, 2.0, 3.0))]


def test_at_most_ahead_frames_wait_for_their_answers(target: str, service: Frames) -> None:
    taken: list[int] = []

    def camera() -> Iterator[bytes]:
        for number in itertools.count():
            taken.append(number)
            yield b"x"

    service.may_answer.clear()
    with Client(target) as client:
        answers = client.stream("m", camera(), ahead=3)
        reading = threading.Thread(target=lambda: next(answers))
        reading.start()
        end = time.monotonic() + 5
        while len(taken) < 3 and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.1)
        assert taken == [0, 1, 2]
        service.may_answer.set()
        reading.join()
        assert labels(itertools.islice(answers, 50)) == ["1"] * 50
        # Leaving the loop ends the call, although the camera goes on.
        answers.close()  # type: ignore[attr-defined]
        assert service.ended.wait(5)


def test_an_error_of_the_source_is_raised_after_the_earlier_answers(target: str) -> None:
    def source() -> Iterator[Any]:
        yield b"a"
        yield b"bb"
        raise OSError("the camera is gone")

    seen: list[FrameAnswer] = []
    with Client(target) as client:
        with pytest.raises(OSError, match="the camera is gone"):
            collect(client.stream("m", source()), seen)
        with pytest.raises(errors.NotFound, match=r"no image at nowhere\.jpg"):
            list(client.stream("m", [b"a", "nowhere.jpg"]))
    assert labels(seen) == ["1", "2"]


def test_the_end_of_the_server_is_reported(target: str) -> None:
    seen: list[FrameAnswer] = []
    with Client(target) as client, pytest.raises(errors.Unavailable, match="the server is shutting down"):
        collect(client.stream("m", [b"a", b"end"]), seen)
    assert labels(seen) == ["1"]


def test_values_out_of_range_are_refused() -> None:
    with Client("127.0.0.1:1", connect_timeout=0.2) as client:
        with pytest.raises(errors.InvalidInput, match="ahead must be at least 1, not 0"):
            client.stream("m", [], ahead=0)
        with pytest.raises(errors.InvalidInput, match="score_threshold must be between 0 and 1, not 2"):
            client.stream("m", [], score_threshold=2)
        with pytest.raises(errors.InvalidInput, match="top_k must be at most 2147483647, not 2147483648"):
            client.stream("m", [], top_k=2**31)
        with pytest.raises(errors.InvalidInput, match="version must be between 0 and"):
            client.classify("m", b"a", version=2**63)
        with pytest.raises(errors.Unavailable, match=r"no server answers at 127.0.0.1:1"):
            list(client.stream("m", [b"a"]))


def test_a_long_frame_timeout_fits_into_its_message() -> None:
    assert [Ask("m").frame(1, b"a", seconds).timeout_ms for seconds in (None, 0.0001, 0.5, 1e9, float("inf"))] == [
        0,
        1,
        500,
        2**31 - 1,
        2**31 - 1,
    ]


def test_health_is_printed_by_its_name() -> None:
    assert f"{Health.NOT_SERVING} {Health(1)!s}" == "NOT_SERVING SERVING"


def test_the_streams_own_deadline(target: str, service: Frames) -> None:
    service.may_answer.clear()
    with Client(target) as client, pytest.raises(errors.DeadlineExceeded, match=r"within 0.3 s"):
        list(client.stream("m", [b"a"], timeout=0.3))
    service.may_answer.set()


async def test_the_asynchronous_client(target: str, service: Frames) -> None:
    async def camera() -> AsyncIterator[bytes]:
        for size in itertools.count(1):
            yield b"x" * size

    async with AsyncClient(target) as client:
        found = [answer.value.best.label async for answer in client.stream("m", [b"a", b"bb"], frame_timeout=2)]
        assert found == ["1", "2"]
        assert service.requests[0].timeout_ms == 2000
        answers = client.stream("m", camera(), ahead=2)
        for size in range(1, 20):
            assert (await anext(answers)).value.best.label == str(size)
        await answers.aclose()  # type: ignore[attr-defined]
        seen: list[FrameAnswer] = []
        with pytest.raises(errors.NotFound, match=r"no image at nowhere\.jpg"):
            await collect_awaited(client.stream("m", [b"a", "nowhere.jpg"]), seen)
        assert labels(seen) == ["1"]
        with pytest.raises(errors.Unavailable, match="the server is shutting down"):
            await collect_awaited(client.stream("m", [b"end"]), [])
