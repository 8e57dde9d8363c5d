"""Errors that come from the state of the server, the second half of the table of errors in docs/serving.md.

A full queue, a deadline that passes, a device without memory or that fails, models that are loaded and unloaded, a
server that ends: over gRPC and HTTP alike.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from serving_kit import PuppetRuntime, Serve, eventually, jpeg, loader, pixels, repository

tf = pytest.importorskip("tensorflow")
pytest.importorskip("tensorflow_serving")

from faults_kit import CODES, Ask, asking, good, tensor  # noqa: E402
from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: E402
from tensorflow_serving.apis import (  # noqa: E402
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
)

from cvserve.errors import OutOfMemory, Unavailable  # noqa: E402
from cvserve.serving import Server, ServerSettings  # noqa: E402
from cvserve.serving.core.loaded_model import LoadedModel  # noqa: E402
from cvserve.serving.core.settings import ModelSettings  # noqa: E402


async def test_a_full_queue(serve: Serve, runtime: PuppetRuntime) -> None:
    runtime.gate.clear()
    async with serve(runtime, max_queue_requests=2, max_batch_size=1) as server, asking(server) as ask:
        running = asyncio.ensure_future(ask.predict())
        await runtime.wait_for_call()
        waiting = [asyncio.ensure_future(ask.predict()) for _ in range(2)]
        with server.engine.manager.acquire("colours") as servable:
            await eventually(lambda: servable.queue.waiting == 2)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ask.predict()
        status, sentence, headers = await ask.rest_with_headers("models/colours:predict", None)
        # "At once": before the batch ends, which runs as long as the test wants.
        assert runtime.running == 1
        assert not any(task.done() for task in (running, *waiting))
        assert refused.value.code() is CODES.RESOURCE_EXHAUSTED
        assert "the queue of model 'colours' is full" in (refused.value.details() or "")
        delay = dict(refused.value.trailing_metadata() or ())["grpc-retry-pushback-ms"]
        assert int(delay) >= 10
        assert status == 429
        assert "the queue of model 'colours' is full" in sentence
        assert int(headers["Retry-After"]) >= 1
        runtime.gate.set()
        await asyncio.gather(running, *waiting)


class Full(PuppetRuntime):
    """Has room for one image; one that is all blue ends the GPU."""

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        answers = super().run(inputs, outputs)
        if self.gate.is_set() and len(inputs["images"]) > 1:
            raise OutOfMemory("gpu:0 has no memory left to run the model on this input: 1 is smaller than 2")
        if inputs["images"][0, 0, 0, 2] == 200:
            raise Unavailable("gpu:0 failed: CUDA failure 700")
        return answers


async def test_a_device_that_is_full(serve: Serve) -> None:
    runtime = Full()
    async with serve(runtime, max_batch_size=2) as server, asking(server) as ask:
        code, text = await ask.code(good(tensor(np.stack([pixels("red")] * 2))))
        assert code is CODES.RESOURCE_EXHAUSTED
        assert "gpu:0 has no memory left" in text
        status, sentence = await ask.rest(body={"instances": [pixels("red").tolist()] * 2})
        assert status == 429
        assert "gpu:0 has no memory left" in sentence
        # Two requests that would have shared a batch are answered, since each one alone has enough memory.
        runtime.gate.clear()
        first = asyncio.ensure_future(ask.code())
        await runtime.wait_for_call()
        two = [asyncio.ensure_future(ask.code()) for _ in range(2)]
        with server.engine.manager.acquire("colours") as servable:
            await eventually(lambda: servable.queue.waiting == 2)
        runtime.gate.set()
        assert [(await task)[0] for task in (first, *two)] == [CODES.OK] * 3
        assert [len(call) for call in runtime.calls[-4:]] == [1, 2, 1, 1]


async def test_a_device_that_fails(serve: Serve) -> None:
    async with serve(Full(), max_batch_size=1) as server, asking(server) as ask:
        code, text = await ask.code(good(tensor(pixels("blue")[np.newaxis])))
        assert code is CODES.UNAVAILABLE
        assert "gpu:0 failed" in text
        assert (await ask.rest(body={"instances": [pixels("blue").tolist()]}))[0] == 503
        assert (await ask.code())[0] is CODES.OK


async def test_deadlines_that_pass(serve: Serve, runtime: PuppetRuntime) -> None:
    """Also while a batch runs, which cannot be interrupted, and for the requests in it."""
    runtime.gate.clear()
    async with serve(runtime, max_batch_size=1, http_timeout_seconds=0.3) as server, asking(server) as ask:
        running = asyncio.ensure_future(ask.code(timeout=0.3))
        await runtime.wait_for_call()
        code, _ = await ask.code(timeout=0.3)
        status, sentence = await ask.rest()
        assert code is CODES.DEADLINE_EXCEEDED
        assert status == 504
        assert "deadline" in sentence
        assert (await running)[0] is CODES.DEADLINE_EXCEEDED
        assert runtime.running == 1, "the answers came before the batch ended"
        runtime.gate.set()
        assert (await ask.code())[0] is CODES.OK
        # Only the running one and the last one ran.
        assert len(runtime.calls) == 2


async def test_a_client_that_goes_away_while_it_waits(serve: Serve, runtime: PuppetRuntime) -> None:
    runtime.gate.clear()
    async with serve(runtime, max_batch_size=1) as server, asking(server) as ask:
        running = asyncio.ensure_future(ask.predict())
        await runtime.wait_for_call()
        gone = [asyncio.ensure_future(ask.predict(good(tensor(pixels("green")[np.newaxis]))))]
        gone.append(asyncio.ensure_future(ask.rest(body={"instances": [pixels("blue").tolist()]})))
        with server.engine.manager.acquire("colours") as servable:
            await eventually(lambda: servable.queue.waiting == 2)
            for request in gone:
                request.cancel()
            await eventually(lambda: servable.queue.waiting == 0)
        runtime.gate.set()
        await running
        assert (await ask.code())[0] is CODES.OK
        assert [call[0, 0, 0].tolist() for call in runtime.calls] == [pixels("red")[0, 0].tolist()] * 2


async def test_requests_of_another_shape(serve: Serve, runtime: PuppetRuntime) -> None:
    """They wait together but never share a batch, so none makes another fail."""
    runtime.gate.clear()
    async with serve(runtime) as server, asking(server) as ask:
        running = asyncio.ensure_future(ask.predict())
        await runtime.wait_for_call()
        other = good(tensor(np.zeros((1, 8, 8, 3), np.uint8)))
        waiting = [asyncio.ensure_future(ask.code(request)) for request in (None, other, None)]
        with server.engine.manager.acquire("colours") as servable:
            await eventually(lambda: servable.queue.waiting == 3)
            runtime.gate.set()
            await running
            assert [code for code, _ in await asyncio.gather(*waiting)] == [CODES.OK] * 3
            assert servable.queue.counts.retried == 0


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


async def test_a_model_that_is_unloaded_during_requests(serve: Serve, runtime: PuppetRuntime) -> None:
    runtime.gate.clear()
    async with serve(runtime, poll_seconds=0) as server, asking(server) as ask:
        running = asyncio.ensure_future(ask.code())
        await runtime.wait_for_call()
        unloading = asyncio.ensure_future(server.engine.reconciler.unload("colours"))
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


async def test_a_valid_image_is_answered_afterwards(serve: Serve) -> None:
    import base64

    async with serve() as server, asking(server) as ask:
        body = {"signature_name": "bytes", "instances": [{"b64": base64.b64encode(jpeg("green")).decode()}]}
        assert await ask.rest(body=body) == (200, "")
