"""The HTTP port itself: health, metrics, connections, drains, both ports together."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from http_kit import PREDICT, Reply, ask, port_of, raw
from serving_kit import PuppetRuntime, Serve, eventually, loader, pixels, repository, slept

from cvserve.errors import InvalidInput
from cvserve.serving import Server, ServerSettings
from cvserve.serving.observability.metrics import Metrics
from cvserve.serving.transport.http.listening import bind, http_port

pytest.importorskip("tensorflow_serving")
pytest.importorskip("aiohttp")

GOOD = json.dumps({"instances": np.stack([pixels("red")]).tolist()}).encode()


def begin(server: Server, body: Any = GOOD) -> asyncio.Task[Reply]:
    return asyncio.ensure_future(ask(f"{server.http_address}{PREDICT}", body))


async def test_health_readiness_and_metrics(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime, metrics_path="/metrics") as server:
        base = server.http_address
        assert (await ask(f"{base}/healthz")).body == b"alive\n"
        assert (await ask(f"{base}/readyz")).body == b"ready\n"
        assert (await ask(f"{base}{PREDICT}", GOOD)).status == 200
        metrics = await ask(f"{base}/metrics")
        assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert b'api="REST predict",code="OK",model="colours",version="1"} 1.0' in metrics.body
        for path in ("/", "/monitoring/prometheus/metrics", "/healthz/x", "/v1", "/v2/models/m"):
            reply = await ask(f"{base}{path}")
            assert (reply.status, reply.error) == (404, f"Not found: GET {path}")
        assert (await ask(f"{base}/healthz", b"{}")).status == 404  # a POST
        assert b"200 OK" in await raw(port_of(server), b"HEAD /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")


async def test_the_loop_goes_on_while_the_metrics_are_written(
    serve: Serve, runtime: PuppetRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_for_health = threading.Event()
    monkeypatch.setattr(Metrics, "text", lambda self: b"x 1\n" if asked_for_health.wait(5) else b"x 0\n")
    async with serve(runtime, metrics_path="/metrics") as server:
        scrape = asyncio.ensure_future(ask(f"{server.http_address}/metrics"))
        assert (await ask(f"{server.http_address}/healthz")).body == b"alive\n"
        asked_for_health.set()
        assert (await scrape).body == b"x 1\n"


async def test_while_models_load_it_is_alive_but_not_ready(tmp_path: Path) -> None:
    loading, loaded = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    runtime = PuppetRuntime()

    def slowly(directory: Path, settings: Any) -> Any:
        loop.call_soon_threadsafe(loading.set)
        asyncio.run_coroutine_threadsafe(loaded.wait(), loop).result(20)
        return loader(runtime)(directory, settings)

    settings = ServerSettings(host="127.0.0.1", port=0)
    server = Server(repository(tmp_path / "models"), settings, load_model=slowly)
    starting = asyncio.ensure_future(server.start())
    await loading.wait()
    base = server.http_address
    assert (await ask(f"{base}/healthz")).status == 200
    reply = await ask(f"{base}/readyz")
    assert (reply.status, reply.body) == (503, b"loading\n")
    reply = await ask(f"{base}{PREDICT}", GOOD)
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert "loading" in reply.error
    status = (await ask(f"{base}/V1/models/colours")).json["model_version_status"]
    assert status[0]["state"] == "LOADING"
    loaded.set()
    await starting
    assert (await ask(f"{base}{PREDICT}", GOOD)).status == 200
    await server.drain()


async def test_a_drain_answers_accepted_requests_and_refuses_new_ones(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime) as server:
        base = server.http_address
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"alive\n")
        runtime.gate.clear()
        accepted = begin(server)
        await runtime.wait_for_call()
        draining = asyncio.ensure_future(server.drain())
        await eventually(lambda: server.engine._draining)
        reply = await ask(f"{base}{PREDICT}", GOOD)
        assert (reply.status, reply.error) == (503, "the server is shutting down")
        assert reply.headers["connection"] == "close"
        reply = await ask(f"{base}/readyz")
        assert (reply.status, reply.body) == (503, b"draining\n")
        assert (await ask(f"{base}/healthz")).status == 200
        assert not draining.done()
        runtime.gate.set()
        assert (await accepted).status == 200
        assert await draining
        # Connections without a request are closed, and no new ones are accepted.
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        with pytest.raises(OSError, match="refused"):
            await ask(f"{base}/healthz")


async def test_a_large_answer_is_written_before_the_port_closes(serve: Serve, runtime: PuppetRuntime) -> None:
    """The engine has finished the request, but a thread still writes its JSON and the client still reads."""

    def run(inputs: Any, outputs: Any = None) -> dict[str, np.ndarray]:
        rows = len(inputs["images"])
        runtime.started.release()
        assert runtime.gate.wait(20)
        return {"probabilities": np.full((rows, 200_000), 0.2, np.float32), "mean": np.zeros((rows, 3), np.float32)}

    runtime.run = run  # type: ignore[method-assign]
    async with serve(runtime) as server:
        runtime.gate.clear()
        accepted = begin(server)
        await runtime.wait_for_call()
        draining = asyncio.ensure_future(server.drain())
        await eventually(lambda: server.engine._draining)
        runtime.gate.set()
        [row] = (await accepted).json["predictions"]
        assert row["probabilities"] == [0.2] * 200_000
        assert await draining


async def test_a_drain_whose_time_is_up_cuts_off(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime) as server:
        runtime.gate.clear()
        cut_off = begin(server)
        await runtime.wait_for_call()
        assert not await server.drain(0.1)
        assert server.cut_off == 1
        with pytest.raises(OSError, match=r"closed connection|reset"):
            await cut_off
        runtime.gate.set()


async def test_a_request_of_a_closed_connection_is_cancelled(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime, max_batch_size=1) as server:
        runtime.gate.clear()
        running = begin(server)
        await runtime.wait_for_call()
        _, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(GOOD)}\r\n\r\n"
        writer.write(head.encode() + GOOD)
        await eventually(lambda: server.engine.in_flight == 2)
        writer.close()
        await eventually(lambda: server.engine.in_flight == 1)
        runtime.gate.set()
        assert (await running).status == 200
        assert len(runtime.calls) == 1


async def test_many_requests_on_one_connection(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime) as server:
        one = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(GOOD)}\r\n\r\n".encode() + GOOD
        bad = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode()
        last = b"GET /v1/foo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        found = await raw(port_of(server), (one + bad) * 20 + last)
        assert found.count(b"HTTP/1.1 200 OK") == 20
        assert found.count(b"Missing 'inputs' or 'instances' key") == 20
        assert found.endswith(b'{"error": "Malformed request: GET /v1/foo"}')


async def test_the_deadline_of_the_settings(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime, http_timeout_seconds=0.2, max_batch_size=1) as server:
        runtime.gate.clear()
        timer = asyncio.ensure_future(slept(0.2))
        started = asyncio.get_running_loop().time()
        reply = await ask(f"{server.http_address}{PREDICT}", GOOD)
        assert reply.status == 504
        assert asyncio.get_running_loop().time() - started < 4 * await timer
        runtime.gate.set()


async def test_other_origins_are_allowed_with_http_cors(serve: Serve, runtime: PuppetRuntime) -> None:
    question = f"OPTIONS {PREDICT} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    async with serve(runtime, http_cors=True) as server:
        assert (await ask(f"{server.http_address}{PREDICT}", GOOD)).headers["access-control-allow-origin"] == "*"
        found = await raw(port_of(server), question)
        assert found.startswith(b"HTTP/1.1 200 OK")
        assert b"Access-Control-Allow-Methods: POST, GET" in found


async def test_other_origins_are_refused_by_default(serve: Serve, runtime: PuppetRuntime) -> None:
    question = f"OPTIONS {PREDICT} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    async with serve(runtime) as server:
        assert "access-control-allow-origin" not in (await ask(f"{server.http_address}{PREDICT}", GOOD)).headers
        assert (await raw(port_of(server), question)).startswith(b"HTTP/1.1 400 ")


async def test_no_http(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime, http_port=-1) as server:
        assert server.http is None
        assert server.http_address is None


def test_which_port() -> None:
    assert http_port(ServerSettings()) == 8501
    assert http_port(ServerSettings(port=9000)) == 8501
    assert http_port(ServerSettings(port=0)) == 0
    assert http_port(ServerSettings(port=0, http_port=8080)) == 8080
    assert http_port(ServerSettings(http_port=-1)) is None


async def test_a_port_in_use_and_an_address_of_no_machine(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        settings = ServerSettings(host="127.0.0.1", port=0, http_port=port)
        server = Server(repository(tmp_path / "models"), settings, load_model=loader(PuppetRuntime()))
        wanted = f"cannot listen on 127.0.0.1:{port}: the port is in use; choose another one with --http-port"
        with pytest.raises(InvalidInput) as error:
            await server.start()
        assert str(error.value) == wanted
    with pytest.raises(InvalidInput, match=r"^cannot listen on 192\.0\.2\.1:0: "):
        bind("192.0.2.1", 0)
    with pytest.raises(InvalidInput, match=r"^cannot listen on nobody\.invalid:1: "):
        bind("nobody.invalid", 1)


def test_ipv6_if_there_is_any() -> None:
    try:
        made = bind("[::]", 0)
    except InvalidInput:
        pytest.skip("no IPv6 here")
    with made:
        made.listen()
        socket.create_connection(("127.0.0.1", made.getsockname()[1])).close()
