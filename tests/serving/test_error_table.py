"""The table of errors in docs/serving.md, row by row, over real sockets: gRPC and HTTP tell the same fault alike.

The rows are those that servers of this kind differ in: unknown things, tensors that do not fit, a full queue, time that
is up, models that come and go, a server that ends.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import numpy as np
import pytest
from serving_kit import PuppetRuntime, Serve, eventually, jpeg, loader, pixels, repository

tf = pytest.importorskip("tensorflow")
pytest.importorskip("tensorflow_serving")

from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: E402
from tensorflow_serving.apis import (  # noqa: E402
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from cvserve.serving import Server, ServerSettings  # noqa: E402
from cvserve.serving.core.config import ModelSettings  # noqa: E402
from cvserve.serving.core.loaded_model import LoadedModel  # noqa: E402

CODES = grpc.StatusCode
Edit = Callable[[Any], object]


@dataclass
class Ask:
    """Both ways to the server."""

    channel: grpc.aio.Channel
    http: aiohttp.ClientSession
    base: str

    async def predict(self, request: Any = None, timeout: float = 10) -> Any:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        return await stub.Predict(good() if request is None else request, timeout=timeout)

    async def code(self, request: Any = None, timeout: float = 10) -> tuple[grpc.StatusCode, str]:
        try:
            await self.predict(request, timeout)
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details() or ""
        return CODES.OK, ""

    async def rest(self, path: str = "models/colours:predict", body: Any = None) -> tuple[int, str]:
        """The status, and the text of the error."""
        status, text, _ = await self.rest_with_headers(path, body)
        return status, text

    async def rest_with_headers(self, path: str, body: Any) -> tuple[int, str, Any]:
        data = body if isinstance(body, bytes) else json.dumps(GOOD_BODY if body is None else body).encode()
        async with self.http.post(f"{self.base}/v1/{path}", data=data) as answer:
            document = await answer.json(content_type=None)
            return answer.status, document.get("error", ""), answer.headers


@asynccontextmanager
async def asking(server: Server) -> AsyncIterator[Ask]:
    async with grpc.aio.insecure_channel(server.address) as channel, aiohttp.ClientSession() as http:
        yield Ask(channel, http, server.http_address or "")


def good(edit: Edit = lambda request: None) -> Any:
    """A PredictRequest that is answered, after `edit`."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "colours"
    request.inputs["images"].CopyFrom(tf.make_tensor_proto(pixels("red")[np.newaxis]))
    edit(request)
    return request


def tensor(array: Any) -> Edit:
    return lambda request: request.inputs["images"].CopyFrom(tf.make_tensor_proto(array))


GOOD_BODY = {"instances": [pixels("red").tolist()]}
TOO_SHORT = np.zeros((1, 16, 16, 2), np.uint8)


@dataclass(frozen=True)
class Row:
    """A fault, as gRPC sends it and as HTTP does (None: HTTP cannot), and the answers.

    text: part of both sentences; http_text: of HTTP's, where its API has other words.
    """

    case: str
    edit: Edit
    code: grpc.StatusCode
    text: str
    path: str | None = "models/colours:predict"
    body: Any = None
    status: int = 400
    http_text: str | None = None


ROWS = [
    Row(
        "unknown model",
        lambda request: setattr(request.model_spec, "name", "nobody"),
        CODES.NOT_FOUND,
        "Servable not found for request: Latest(nobody)",
        path="models/nobody:predict",
        status=404,
    ),
    Row(
        "unknown version",
        lambda request: setattr(request.model_spec.version, "value", 7),
        CODES.NOT_FOUND,
        "Servable not found for request: Specific(colours, 7)",
        path="models/colours/versions/7:predict",
        status=404,
    ),
    Row(
        "version that is no number",
        lambda request: setattr(request.model_spec.version, "value", -1),
        CODES.NOT_FOUND,
        "Servable not found for request: Specific(colours, -1)",
        path="models/colours/versions/foo:predict",
        http_text="Malformed request: POST /v1/models/colours/versions/foo:predict",
    ),
    Row(
        "no model name",
        lambda request: request.model_spec.ClearField("name"),
        CODES.INVALID_ARGUMENT,
        "ModelSpec has no name specified.",
        path="models/:predict",
        http_text="Malformed request",
    ),
    Row(
        "unknown signature",
        lambda request: setattr(request.model_spec, "signature_name", "s"),
        CODES.FAILED_PRECONDITION,
        'Serving signature key "s" not found.',
        body={"signature_name": "s", **GOOD_BODY},
        http_text='Serving signature name: "s" not found in signature def',
    ),
    Row(
        "unknown label",
        lambda request: setattr(request.model_spec, "version_label", "canary"),
        CODES.INVALID_ARGUMENT,
        "Unrecognized servable version label: canary",
        path="models/colours/labels/canary:predict",
    ),
    Row(
        "wrong dtype",
        tensor(pixels("red").astype(np.float32)[np.newaxis]),
        CODES.INVALID_ARGUMENT,
        "images",
        body={"instances": [(pixels("red") + 0.5).tolist()]},
        http_text="is not of expected type: uint8",
    ),
    Row("wrong shape", tensor(TOO_SHORT), CODES.INVALID_ARGUMENT, "", body={"instances": TOO_SHORT.tolist()}),
    Row("wrong rank", tensor(np.uint8(3)), CODES.INVALID_ARGUMENT, "", body={"inputs": 3}),
    Row(
        "more rows than a request may have",
        tensor(np.zeros((21, 16, 16, 3), np.uint8)),
        CODES.INVALID_ARGUMENT,
        "21 rows; model 'colours' takes at most 20",
        body={"instances": np.zeros((21, 16, 16, 3), np.uint8).tolist()},
    ),
    Row(
        "missing input",
        lambda request: request.inputs.clear(),
        CODES.INVALID_ARGUMENT,
        "input size does not match signature: 0!=1",
        body={"inputs": {}},
        http_text="",
    ),
    Row(
        "extra input",
        lambda request: request.inputs["more"].CopyFrom(request.inputs["images"]),
        CODES.INVALID_ARGUMENT,
        "Sent extra: {more}",
        path=None,  # over HTTP names that the signature does not have are passed over, as in TensorFlow Serving
    ),
    Row(
        "unknown output",
        lambda request: request.output_filter.append("nothing"),
        CODES.INVALID_ARGUMENT,
        "output tensor alias not found in signature: nothing",
        path=None,
    ),
    Row(
        "output twice",
        lambda request: request.output_filter.extend(["probabilities"] * 2),
        CODES.INVALID_ARGUMENT,
        "duplicate output tensor alias: probabilities",
        path=None,
    ),
    Row(
        "bytes of another length",
        lambda request: setattr(request.inputs["images"], "tensor_content", b"12"),
        CODES.INVALID_ARGUMENT,
        "tensor parsing error: images",
        path=None,
    ),
    Row(
        "a picture that is none",
        lambda request: (
            request.inputs.clear(),
            setattr(request.model_spec, "signature_name", "bytes"),
            request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([b"no picture"])),
        ),
        CODES.INVALID_ARGUMENT,
        "image 0",
        body={"signature_name": "bytes", "instances": [{"b64": "bm8gcGljdHVyZQ=="}]},
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.case)
async def test_faults_of_a_request(serve: Serve, row: Row) -> None:
    async with serve(max_request_rows=20) as server, asking(server) as ask:
        code, text = await ask.code(good(row.edit))
        assert code is row.code, text
        assert row.text in text
        assert text, "a fault has a sentence"
        if row.path is not None:
            status, sentence = await ask.rest(row.path, row.body)
            assert status == row.status, sentence
            assert (row.text if row.http_text is None else row.http_text) in sentence
            assert sentence
        # The next one is answered, both ways.
        assert (await ask.code())[0] is CODES.OK
        assert (await ask.rest())[0] == 200


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("models/colours:predict", b"{", 400, "JSON Parse error"),
        ("models/colours:predict", b"[]", 400, ""),
        ("models/colours:predict", b"{}", 400, ""),
        ("models/colours:predict", {"instances": [], "inputs": []}, 400, ""),
        ("models/colours:explode", None, 400, "Malformed request: POST /v1/models/colours:explode"),
        ("nothing", None, 400, "Malformed request: POST /v1/nothing"),
        ("models/%2e%2e%2fcolours:predict", None, 404, "Servable not found"),
    ],
)
async def test_faults_that_only_http_has(serve: Serve, path: str, body: Any, status: int, text: str) -> None:
    async with serve() as server, asking(server) as ask:
        assert (await ask.rest(path, body))[0] == status
        assert text in (await ask.rest(path, body))[1]
        async with ask.http.get(f"{ask.base}/elsewhere") as answer:
            assert answer.status == 404


async def test_a_full_queue(serve: Serve, runtime: PuppetRuntime) -> None:
    runtime.gate.clear()
    async with serve(runtime, max_queue_requests=2, max_batch_size=1) as server, asking(server) as ask:
        running = asyncio.ensure_future(ask.predict())
        await runtime.wait_for_call()
        waiting = [asyncio.ensure_future(ask.predict()) for _ in range(2)]
        with server.engine.manager.acquire("colours") as servable:
            await eventually(lambda: servable.batcher.waiting == 2)
        start = time.perf_counter()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ask.predict()
        status, sentence, headers = await ask.rest_with_headers("models/colours:predict", None)
        # "At once": far from the batch, which runs as long as the test wants.
        assert time.perf_counter() - start < 2
        assert refused.value.code() is CODES.RESOURCE_EXHAUSTED
        assert "the queue of model 'colours' is full" in (refused.value.details() or "")
        delay = dict(refused.value.trailing_metadata() or ())["grpc-retry-pushback-ms"]
        assert int(delay) >= 10
        assert status == 429
        assert "the queue of model 'colours' is full" in sentence
        assert int(headers["Retry-After"]) >= 1
        runtime.gate.set()
        await asyncio.gather(running, *waiting)


async def test_time_that_is_up(serve: Serve, runtime: PuppetRuntime) -> None:
    """Also while a batch runs that nobody can end, and for the requests in it."""
    runtime.gate.clear()
    async with serve(runtime, max_batch_size=1, http_timeout_seconds=0.3) as server, asking(server) as ask:
        running = asyncio.ensure_future(ask.code(timeout=0.3))
        await runtime.wait_for_call()
        start = time.perf_counter()
        code, _ = await ask.code(timeout=0.3)
        status, sentence = await ask.rest()
        assert code is CODES.DEADLINE_EXCEEDED
        assert status == 504
        assert "deadline" in sentence
        assert (await running)[0] is CODES.DEADLINE_EXCEEDED
        assert time.perf_counter() - start < 2
        runtime.gate.set()
        assert (await ask.code())[0] is CODES.OK
        # The one that ran, and the last: the others never did.
        assert len(runtime.calls) == 2


async def test_a_client_that_goes_away_while_it_waits(serve: Serve, runtime: PuppetRuntime) -> None:
    runtime.gate.clear()
    async with serve(runtime, max_batch_size=1) as server, asking(server) as ask:
        running = asyncio.ensure_future(ask.predict())
        await runtime.wait_for_call()
        gone = [asyncio.ensure_future(ask.predict(good(tensor(pixels("green")[np.newaxis]))))]
        gone.append(asyncio.ensure_future(ask.rest(body={"instances": [pixels("blue").tolist()]})))
        with server.engine.manager.acquire("colours") as servable:
            await eventually(lambda: servable.batcher.waiting == 2)
            for request in gone:
                request.cancel()
            await eventually(lambda: servable.batcher.waiting == 0)
        runtime.gate.set()
        await running
        assert (await ask.code())[0] is CODES.OK
        assert [call[0, 0, 0].tolist() for call in runtime.calls] == [pixels("red")[0, 0].tolist()] * 2


async def test_neighbours_of_another_shape(serve: Serve, runtime: PuppetRuntime) -> None:
    """They wait together and never share a batch, so none fails for the other."""
    runtime.gate.clear()
    async with serve(runtime) as server, asking(server) as ask:
        running = asyncio.ensure_future(ask.predict())
        await runtime.wait_for_call()
        other = good(tensor(np.zeros((1, 8, 8, 3), np.uint8)))
        waiting = [asyncio.ensure_future(ask.code(request)) for request in (None, other, None)]
        with server.engine.manager.acquire("colours") as servable:
            await eventually(lambda: servable.batcher.waiting == 3)
            runtime.gate.set()
            await running
            assert [code for code, _ in await asyncio.gather(*waiting)] == [CODES.OK] * 3
            assert servable.batcher.counts.retried == 0


async def test_a_model_that_is_loading(tmp_path: Path) -> None:
    import threading

    gate, runtime = threading.Event(), PuppetRuntime()

    def slow(directory: Path, settings: ModelSettings, *more: Any) -> LoadedModel:
        assert gate.wait(30)
        return loader(runtime)(directory, settings)

    settings = ServerSettings(host="127.0.0.1", port=0, grace_seconds=5)
    server = Server(repository(tmp_path / "models"), settings, load_model=slow)
    starting = asyncio.ensure_future(server.start())
    try:
        await eventually(lambda: bool(server.http_address) and bool(server.port))
        async with asking(server) as ask:
            await eventually_code(ask, CODES.UNAVAILABLE)
            status, sentence = await ask.rest()
            assert status == 503
            assert "loading" in sentence
            gate.set()
            await starting
            assert (await ask.code())[0] is CODES.OK
            assert (await ask.rest())[0] == 200
    finally:
        gate.set()
        await starting
        await server.drain()


async def eventually_code(ask: Ask, code: grpc.StatusCode) -> None:
    for _ in range(500):
        if (found := await ask.code())[0] is code and "loading" in found[1]:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"never {code}")


async def test_a_model_that_is_unloaded_while_it_is_asked(serve: Serve, runtime: PuppetRuntime) -> None:
    runtime.gate.clear()
    async with serve(runtime, poll_seconds=0) as server, asking(server) as ask:
        running = asyncio.ensure_future(ask.code())
        await runtime.wait_for_call()
        unloading = asyncio.ensure_future(server.engine.unload("colours"))
        await eventually_not_available(server)
        code, text = await ask.code()
        assert (code, "Servable not found for request: Latest(colours)" in text) == (CODES.NOT_FOUND, True)
        assert (await ask.rest())[0] == 404
        assert not unloading.done()
        runtime.gate.set()
        assert (await running)[0] is CODES.OK
        await unloading


async def eventually_not_available(server: Server) -> None:
    await eventually(lambda: not server.engine.manager.available("colours"))


async def test_status_of_unknown_models_and_reloading_to_nonsense(serve: Serve) -> None:
    async with serve() as server, asking(server) as ask:
        stub = model_service_pb2_grpc.ModelServiceStub(ask.channel)
        status = get_model_status_pb2.GetModelStatusRequest()
        status.model_spec.name = "nobody"
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.GetModelStatus(status, timeout=10)
        assert error.value.code() is CODES.NOT_FOUND
        async with ask.http.get(f"{ask.base}/v1/models/nobody") as answer:
            assert answer.status == 404
        reload = model_management_pb2.ReloadConfigRequest()
        reload.config.model_config_list.config.add(name="m", base_path="relative", model_platform="tensorflow")
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.HandleReloadConfigRequest(reload, timeout=10)
        assert error.value.code() is CODES.INVALID_ARGUMENT
        assert (await ask.code())[0] is CODES.OK


async def test_health(serve: Serve) -> None:
    async with serve() as server, asking(server) as ask:
        stub = health_pb2_grpc.HealthStub(ask.channel)
        for service in ("", "colours", "colours/1", "tensorflow.serving.PredictionService"):
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING, service
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.Check(health_pb2.HealthCheckRequest(service="nobody"), timeout=10)
        assert error.value.code() is CODES.NOT_FOUND
        for path in ("healthz", "readyz"):
            async with ask.http.get(f"{ask.base}/{path}") as answer:
                assert answer.status == 200


async def test_a_server_that_ends(serve: Serve, runtime: PuppetRuntime) -> None:
    runtime.gate.clear()
    async with serve(runtime) as server, asking(server) as ask:
        running = asyncio.ensure_future(ask.code())
        await runtime.wait_for_call()
        draining = asyncio.ensure_future(server.drain(5))
        stub = health_pb2_grpc.HealthStub(ask.channel)
        while (await ask.code())[0] is not CODES.UNAVAILABLE:
            await asyncio.sleep(0.01)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service="colours"), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert (await ask.rest())[0] == 503
        async with ask.http.get(f"{ask.base}/readyz") as ready, ask.http.get(f"{ask.base}/healthz") as alive:
            assert (ready.status, alive.status) == (503, 200)
        runtime.gate.set()
        assert (await running)[0] is CODES.OK
        assert await draining


async def test_a_good_picture_after_all_that(serve: Serve) -> None:
    import base64

    async with serve() as server, asking(server) as ask:
        body = {"signature_name": "bytes", "instances": [{"b64": base64.b64encode(jpeg("green")).decode()}]}
        assert await ask.rest(body=body) == (200, "")
