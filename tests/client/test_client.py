"""The clients with a small server of the same service, which needs no TensorFlow."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import cv2
import grpc
import numpy as np
import pytest

from cvserve import errors
from cvserve.client import AsyncClient, Client, ModelInfo
from cvserve.postproc.results import ClassificationResult, ClassScore
from cvserve.protos import vision_pb2, vision_pb2_grpc


class Service(vision_pb2_grpc.VisionServiceServicer):
    """Answers with the length of the image as label, and counts requests."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.now = self.most = 0
        self.lock = threading.Lock()
        self.act: Callable[[Any], None] = lambda context: None

    def Classify(self, request: Any, context: Any) -> Any:
        with self.lock:
            self.requests.append(request)
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            self.act(context)
        finally:
            with self.lock:
                self.now -= 1
        label = str(len(request.image))
        return vision_pb2.ClassifyResponse(
            model=vision_pb2.ModelSpec(name=request.model.name, version=3),
            classes=[vision_pb2.ClassScore(label=label, index=4, score=0.5)],
        )

    def GetModelInfo(self, request: Any, context: Any) -> Any:
        return vision_pb2.GetModelInfoResponse(
            model=vision_pb2.ModelSpec(name=request.model.name, version=request.model.version or 3),
            task="classification",
            labels=["a", "b"],
            input_height=4,
            input_width=6,
            versions=[2, 3],
            runtime="onnx",
        )


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def target(service: Service) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(32))
    vision_pb2_grpc.add_VisionServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


def label(result: ClassificationResult) -> str:
    return result.best.label


def test_classify(target: str, service: Service) -> None:
    with Client(target) as client:
        result = client.classify("flowers", b"abc", top_k=7, version=9)
    assert result == ClassificationResult((ClassScore("3", 4, 0.5),))
    [request] = service.requests
    assert (request.model.name, request.model.version, request.top_k) == ("flowers", 9, 7)


def test_without_a_version_the_newest_answers(target: str, service: Service) -> None:
    with Client(target) as client:
        client.classify("flowers", b"abc", top_k=None)
    assert not service.requests[0].model.HasField("version")
    assert service.requests[0].top_k == 0


def test_a_path_is_sent_as_it_is_and_an_array_as_png(target: str, service: Service, tmp_path: Path) -> None:
    file = tmp_path / "photo.jpg"
    file.write_bytes(b"not looked at here")
    colors = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    with Client(target) as client:
        for image in (file, str(file), colors, colors[..., 0], np.dstack([colors, colors[..., :1]])):
            client.classify("m", image)
    sent = [request.image for request in service.requests]
    assert sent[0] == sent[1] == b"not looked at here"
    assert sent[2][:4] == b"\x89PNG"

    def read(data: bytes) -> np.ndarray:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)

    np.testing.assert_array_equal(read(sent[2])[..., ::-1], colors)
    np.testing.assert_array_equal(read(sent[3]), colors[..., 0])
    np.testing.assert_array_equal(read(sent[4])[..., [2, 1, 0, 3]], np.dstack([colors, colors[..., :1]]))


@pytest.mark.parametrize(
    ("image", "kind", "text"),
    [
        ("nowhere.jpg", errors.NotFound, "no image at nowhere.jpg"),
        (Path("."), errors.ImageError, "cannot be read"),
        (np.zeros((2, 2, 3)), errors.ImageError, "must be uint8"),
        (np.zeros((2, 2, 2), np.uint8), errors.ImageError, "must be uint8"),
        (np.zeros((0, 2, 3), np.uint8), errors.ImageError, "no pixels"),
        (3, errors.InvalidInput, "a path, bytes or an array, not int"),
    ],
)
def test_a_source_that_is_not_an_image_is_not_sent(image: Any, kind: type[Exception], text: str) -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(kind, match=text):
        client.classify("m", image)


def test_many_images_in_order_with_limited_concurrency(target: str, service: Service) -> None:
    service.act = lambda context: time.sleep(0.01)
    read: list[int] = []

    def images() -> Iterator[bytes]:
        for size in range(40):
            read.append(size)
            yield b"x" * (size + 1)

    with Client(target) as client:
        results = client.classify_many("m", images(), concurrency=4)
        assert label(next(results)) == "1"
        # Only about as many images are read ahead as requests are open.
        assert len(read) <= 5
        assert [label(result) for result in results] == [str(size + 1) for size in range(1, 40)]
    assert 2 <= service.most <= 4


def test_many_stop_at_the_first_failure(target: str) -> None:
    with Client(target) as client:
        results = client.classify_many("m", [b"a", "nowhere.jpg", b"c"], concurrency=2)
        assert label(next(results)) == "1"
        with pytest.raises(errors.NotFound):
            next(results)
        with pytest.raises(errors.InvalidInput, match="concurrency must be at least 1"):
            client.classify_many("m", [], concurrency=0)


def test_model_info(target: str) -> None:
    with Client(target) as client:
        assert client.model_info("m") == ModelInfo("m", 3, (2, 3), "classification", ("a", "b"), 4, 6, "onnx")
        assert client.model_info("m", version=2).version == 2


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("INVALID_ARGUMENT", errors.InvalidInput),
        ("NOT_FOUND", errors.NotFound),
        ("FAILED_PRECONDITION", errors.FailedPrecondition),
        ("UNAVAILABLE", errors.Unavailable),
        ("UNIMPLEMENTED", errors.Unimplemented),
        ("RESOURCE_EXHAUSTED", errors.Overloaded),
        ("CANCELLED", errors.Cancelled),
        ("INTERNAL", errors.CvserveError),
    ],
)
async def test_codes_become_exceptions_with_the_servers_text(
    target: str, service: Service, code: str, kind: type[errors.CvserveError]
) -> None:
    def act(context: Any) -> None:
        context.set_trailing_metadata((("grpc-retry-pushback-ms", "250"),))
        context.abort(getattr(grpc.StatusCode, code), "the reason")

    service.act = act
    with Client(target) as client, pytest.raises(kind) as error:
        await asyncio.to_thread(client.classify, "m", b"a")
    assert type(error.value) is kind
    assert str(error.value) == f"{target}: the reason"
    if isinstance(error.value, errors.Overloaded):
        assert error.value.retry_after == 0.25
    # An answer of the server is not requested again.
    assert len(service.requests) == 1
    async with AsyncClient(target) as waiting:
        with pytest.raises(kind, match=f"{target}: the reason"):
            await waiting.classify("m", b"a")


def test_too_little_memory_is_not_overload(target: str, service: Service) -> None:
    def act(context: Any) -> None:
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "gpu:0 has no memory left to run the model on this input")

    service.act = act
    with Client(target) as client, pytest.raises(errors.OutOfMemory, match="no memory left"):
        client.classify("m", b"a")


def test_a_deadline_names_the_server_and_the_time(target: str, service: Service) -> None:
    service.act = lambda context: time.sleep(1)
    with Client(target, timeout=0.2) as client:
        with pytest.raises(errors.DeadlineExceeded, match=rf"{target} did not answer within 0.2 s"):
            client.classify("m", b"a")
        with pytest.raises(errors.DeadlineExceeded, match=r"within 0.1 s"):
            client.classify("m", b"a", timeout=0.1)


async def test_a_missing_server_is_reported_within_the_connect_timeout() -> None:
    started = time.monotonic()
    with Client("127.0.0.1:1", connect_timeout=0.3) as client, pytest.raises(errors.Unavailable) as error:
        await asyncio.to_thread(client.model_info, "m")
    assert str(error.value) == "no server answers at 127.0.0.1:1"
    async with AsyncClient("127.0.0.1:1", connect_timeout=0.3) as waiting:
        with pytest.raises(errors.Unavailable, match=r"no server answers at 127.0.0.1:1"):
            await waiting.model_info("m")
    assert time.monotonic() - started < 5


def test_a_server_that_starts_a_little_later_is_reached(service: Service) -> None:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = grpc.server(futures.ThreadPoolExecutor(2))
    vision_pb2_grpc.add_VisionServiceServicer_to_server(service, server)

    def start() -> None:
        time.sleep(0.5)
        server.add_insecure_port(f"127.0.0.1:{port}")
        server.start()

    later = threading.Thread(target=start)
    later.start()
    with Client(f"127.0.0.1:{port}") as client:
        assert label(client.classify("m", b"ab")) == "2"
    later.join()
    server.stop(None)


async def test_the_asynchronous_client(target: str, service: Service, tmp_path: Path) -> None:
    service.act = lambda context: time.sleep(0.01)
    (tmp_path / "a.jpg").write_bytes(b"abcd")
    async with AsyncClient(target) as client:
        assert label(await client.classify("m", tmp_path / "a.jpg")) == "4"
        images = [b"x" * size for size in range(1, 21)]
        found = [label(result) async for result in client.classify_many("m", images, concurrency=3)]
        assert found == [str(size) for size in range(1, 21)]
        assert 2 <= service.most <= 3
        assert (await client.model_info("m")).labels == ("a", "b")
        with pytest.raises(errors.NotFound):
            async for _ in client.classify_many("m", ["nowhere.jpg"]):
                pass


def test_the_client_imports_no_large_library() -> None:
    code = (
        "import cvserve.client, sys; "
        "print([name for name in ('tensorflow', 'tensorflow_serving', 'onnxruntime') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
