"""The health service, which follows the states of the models."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import grpc
import pytest
from serving_kit import PuppetRuntime, Serve, eventually, jpeg, loader, repository
from tiny_artifact import publish_tiny

from cvserve.client import AsyncClient
from cvserve.errors import ArtifactError, DeviceLost, InvalidInput, NotFound, Unavailable
from cvserve.serving import Server, ServerSettings
from cvserve.serving.core import manager
from cvserve.serving.core.loaded_model import LoadedModel
from cvserve.serving.core.settings import ModelSettings

health_pb2 = pytest.importorskip("grpc_health.v1.health_pb2")
health_pb2_grpc = pytest.importorskip("grpc_health.v1.health_pb2_grpc")
pytest.importorskip("tensorflow_serving")

SERVING, NOT_SERVING = 1, 2
NAMES = (
    "",
    "tensorflow.serving.PredictionService",
    "tensorflow.serving.ModelService",
    "cvserve.v1.VisionService",
    "PredictionService",
    "ModelService",
)


@asynccontextmanager
async def health(target: str) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(target) as channel:
        yield health_pb2_grpc.HealthStub(channel)


async def check(stub: Any, service: str) -> int:
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
    return int(answer.status)


async def test_every_service_and_model_has_its_health(serve: Serve) -> None:
    async with serve() as server, health(server.address) as stub:
        for name in (*NAMES, "colours", "colours/1"):
            assert await check(stub, name) == SERVING, name
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await check(stub, "flowers")
        assert error.value.code() is grpc.StatusCode.NOT_FOUND


async def test_while_loading_nothing_is_serving_and_requests_are_unavailable(tmp_path: Path) -> None:
    root = repository(tmp_path, "colours", "second")
    gates = {"colours": threading.Event(), "second": threading.Event()}
    plain = loader(PuppetRuntime())

    def slow(directory: Path, settings: ModelSettings) -> LoadedModel:
        gates[directory.parent.name].wait(10)
        return plain(directory, settings)

    server = Server(root, ServerSettings(host="127.0.0.1", port=0), load_model=slow)
    starting = asyncio.ensure_future(server.start())
    await eventually(lambda: server.port != 0, 30)
    async with health(server.address) as stub, AsyncClient(server.address) as client:
        await eventually_serving(stub, "colours", NOT_SERVING)
        for name in NAMES:
            assert await check(stub, name) == NOT_SERVING
        with pytest.raises(Unavailable, match="model 'colours' is still loading"):
            await client.classify("colours", jpeg())
        # A model that is ready answers while the next one loads, but the server as a whole is not ready.
        gates["colours"].set()
        await eventually_serving(stub, "colours", SERVING)
        await client.classify("colours", jpeg())
        assert await check(stub, "second") == NOT_SERVING
        assert await check(stub, "") == NOT_SERVING
        gates["second"].set()
        await starting
        for name in (*NAMES, "colours", "second", "second/1"):
            assert await check(stub, name) == SERVING
    await server.drain()


async def eventually_serving(stub: Any, name: str, wanted: int) -> None:
    for _ in range(500):
        try:
            if await check(stub, name) == wanted:
                return
        except grpc.aio.AioRpcError as error:
            # Before the port is served, and before the model is known.
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
        await asyncio.sleep(0.02)
    raise AssertionError(f"{name} never became {wanted}")


async def test_watch_reports_every_change(serve: Serve) -> None:
    seen: list[int] = []
    async with serve() as server, health(server.address) as stub:

        async def watch() -> None:
            async for answer in stub.Watch(health_pb2.HealthCheckRequest(service="colours")):
                seen.append(answer.status)

        watching = asyncio.ensure_future(watch())
        await eventually(lambda: seen == [SERVING])
        await server.engine.manager.unload("colours", 1)
        await eventually(lambda: seen == [SERVING, NOT_SERVING])
        watching.cancel()


async def test_draining_refuses_new_requests_and_finishes_accepted_ones(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime) as server, health(server.address) as stub, AsyncClient(server.address) as client:
        runtime.gate.clear()
        accepted = asyncio.ensure_future(client.classify("colours", jpeg("green")))
        await runtime.wait_for_call()
        draining = asyncio.ensure_future(server.drain())
        await eventually_serving(stub, "", NOT_SERVING)
        assert await check(stub, "colours") == NOT_SERVING
        with pytest.raises(Unavailable, match="the server is shutting down"):
            await client.classify("colours", jpeg())
        assert not draining.done()
        runtime.gate.set()
        assert (await accepted).best.label == "green"
        assert await draining
        assert runtime.closed
        with pytest.raises(Unavailable, match=f"no server answers at {server.address}"):
            await AsyncClient(server.address, connect_timeout=0.2).classify("colours", jpeg())


async def test_a_broken_model_is_reported_and_stops_no_other(tmp_path: Path) -> None:
    root = repository(tmp_path, "colours")
    broken = publish_tiny(root / "broken")
    (broken.directory / "model.onnx").write_bytes(b"damaged")
    lines: list[str] = []
    server = Server(root, ServerSettings(host="127.0.0.1", port=0, max_batch_size=2), report=lines.append)
    async with server, health(server.address) as stub, AsyncClient(server.address) as client:
        assert (await client.classify("colours", jpeg())).best.label == "red"
        with pytest.raises(NotFound, match="does not match its hash"):
            await client.classify("broken", jpeg())
        assert await check(stub, "") == SERVING
        assert await check(stub, "broken") == NOT_SERVING
        assert [line.split(":")[0] for line in lines] == ["broken version 1 cannot be served"]
        described = server.describe()
        assert len(described) == 1
        assert described[0].startswith("colours version 1: onnx, ")
        assert "batches up to 2" in described[0]


async def test_a_server_without_a_model_is_not_ready(serve: Serve) -> None:
    async with serve(http_port=0) as server, health(server.address) as stub:
        assert await check(stub, "") == SERVING
        await server.engine.reconciler.unload("colours")
        for service in ("", "cvserve.v1.VisionService"):
            assert await check(stub, service) == NOT_SERVING
        with pytest.raises(HTTPError) as error:
            await asyncio.to_thread(urlopen, f"{server.http_address}/readyz")
        with error.value as refused:
            assert (refused.code, refused.read()) == (503, b"no model is served\n")
        await server.engine.reconciler.load("colours")
        assert await check(stub, "") == SERVING


async def test_a_repository_that_lost_its_models_is_not_ready_and_an_empty_list_is(
    tmp_path: Path, serve: Serve
) -> None:
    async with serve() as server, health(server.address) as stub:
        await server.engine.reconciler.apply([])
        assert await check(stub, "") == SERVING, "an empty list is not an error"
    root = repository(tmp_path / "models")
    settings = ServerSettings(host="127.0.0.1", port=0, http_port=-1, poll_seconds=0)
    async with Server(root, settings, load_model=loader(PuppetRuntime())) as server, health(server.address) as stub:
        (root / "colours").rename(tmp_path / "colours")
        await server.engine.reconciler.poll()
        assert await check(stub, "") == NOT_SERVING
        (tmp_path / "colours").rename(root / "colours")
        await server.engine.reconciler.poll()
        assert await check(stub, "") == SERVING
    empty = Server(None, settings, models=[])
    async with empty, health(empty.address) as stub:
        assert await check(stub, "") == SERVING, "its models come by a request"


async def test_a_lost_device_makes_the_server_not_serving(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    class OnGpu(PuppetRuntime):
        lost = False

        def run(self, inputs: Any, outputs: Any = None) -> Any:
            if self.lost:
                raise DeviceLost("gpu:0 failed: CUDA failure 700: an illegal memory access was encountered")
            return super().run(inputs, outputs)

    runtime = OnGpu()
    async with serve(runtime, http_port=0) as server, health(server.address) as stub:
        lines: list[str] = []
        server._lines._report = lines.append

        async def ready() -> tuple[int, str]:
            def ask() -> tuple[int, str]:
                try:
                    with urlopen(f"{server.http_address}/readyz") as answer:
                        return answer.status, answer.read().decode()
                except HTTPError as error:
                    return error.code, error.read().decode()

            return await asyncio.to_thread(ask)

        async with AsyncClient(server.address) as client:
            await client.classify("colours", jpeg())
            assert await ready() == (200, "ready\n")
            runtime.lost = True
            for _ in range(2):
                with pytest.raises(Unavailable, match="CUDA failure 700"):
                    await client.classify("colours", jpeg())
            for service in ("", "colours", "colours/1"):
                assert await check(stub, service) == NOT_SERVING
            assert await ready() == (503, "a device is lost\n")
            assert len(lines) == 1
            assert "colours version 1 has lost its device" in lines[0]
            # An error of a client shows nothing about the device; an answer does.
            with pytest.raises(InvalidInput):
                await client.classify("colours", b"no image")
            assert await check(stub, "") == NOT_SERVING
            # The answer may have come from another device.
            runtime.lost = False
            await client.classify("colours", jpeg())
            assert await check(stub, "") == NOT_SERVING
            monkeypatch.setattr(manager, "RECOVERED_SECONDS", 0.0)
            await client.classify("colours", jpeg())
            assert await check(stub, "") == SERVING
            assert await ready() == (200, "ready\n")
            assert lines[1:] == ["colours version 1 is served"]
            # Without the model that uses the device, no device is lost.
            runtime.lost = True
            with pytest.raises(Unavailable):
                await client.classify("colours", jpeg())
            assert await check(stub, "") == NOT_SERVING
            await server.engine.reconciler.unload("colours")
            assert await ready() == (503, "no model is served\n")
            runtime.lost = False
            await server.engine.reconciler.load("colours")
            assert await check(stub, "") == SERVING
            reported = [line for line in lines[2:] if "lost its device" not in line]
            assert reported == ["colours version 1 is unloaded", "colours version 1 is served"]
            assert len(lines) == 5


async def test_a_failed_start_gives_the_reason_in_one_sentence(tmp_path: Path, serve: Serve) -> None:
    here = ServerSettings(host="127.0.0.1", port=0)
    with pytest.raises(NotFound, match="holds no model; a repository looks like"):
        await Server(tmp_path, here).start()
    with pytest.raises(NotFound, match="no model repository at"):
        await Server(tmp_path / "nowhere", here).start()
    root = repository(tmp_path / "one", "broken")
    (root / "broken" / "1" / "model.onnx").unlink()
    with pytest.raises(ArtifactError, match=r"incomplete: model.onnx is missing"):
        await Server(root, here).start()
    async with serve() as server:
        taken = ServerSettings(host="127.0.0.1", port=server.port)
        with pytest.raises(InvalidInput, match=f"cannot listen on 127.0.0.1:{server.port}: the port is in use"):
            await Server(server._path, taken).start()
    elsewhere = ServerSettings(host="203.0.113.1", port=0)
    with pytest.raises(InvalidInput, match=r"cannot listen on 203.0.113.1:0: "):
        await Server(tmp_path / "models", elsewhere).start()
    stranger = ServerSettings(host="127.0.0.1", port=0, models={"colour": ModelSettings()})
    with pytest.raises(InvalidInput, match="name a model 'colour' that is not there; did you mean 'colours'"):
        await Server(tmp_path / "models", stranger).start()
