"""The log: its two formats, the id of each request, and that a full disk or a stuck reader does not stop the server."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from serving_kit import PuppetRuntime, Serve, eventually, jpeg, repository

from cvserve.client import Client
from cvserve.protos import vision_pb2, vision_pb2_grpc
from cvserve.serving.observability import logs

LOG = logging.getLogger("cvserve.test")
TESTS = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def handlers_go() -> Iterator[None]:
    root, before = logging.getLogger(), list(logging.getLogger().handlers)
    level = logging.getLogger("cvserve").level
    yield
    root.handlers[:] = before
    logging.getLogger("cvserve").setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    logs.flush()
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_lines() -> None:
    stream = io.StringIO()
    logs.set_up("json", "info", stream)
    LOG.debug("not this")
    LOG.info("two\nlines with “quotes” %s", "and more")
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        LOG.exception("it failed")
    first, second = lines(stream)
    assert first["message"] == "two\nlines with “quotes” and more"
    assert first["level"] == "info"
    assert first["logger"] == "cvserve.test"
    assert first["time"].endswith("Z")
    assert "RuntimeError: broken" in second["traceback"]
    assert json.loads(logs.output_line("ready: gRPC on x"))["message"] == "ready: gRPC on x"


def test_a_line_that_cannot_be_formatted_raises_nothing() -> None:
    stream = io.StringIO()
    handler = logs.Handler(stream)
    handler.setFormatter(logs.JsonFormatter())
    for argument in ("many", 5):
        handler.handle(logging.LogRecord("library", logging.WARNING, "", 0, "%d rows", (argument,), None))
    handler.flush()
    first, second = [json.loads(line)["message"] for line in stream.getvalue().splitlines()]
    assert "'%d rows' cannot be written" in first
    assert second == "5 rows"


def test_console_lines_cannot_be_forged() -> None:
    stream = io.StringIO()
    logs.set_up("console", "info", stream)
    LOG.info("model %s", "x\n12:00:00 ERROR cvserve: forged")
    logs.flush()
    [line] = stream.getvalue().splitlines()
    assert line.endswith("INFO cvserve.test: model x\\n12:00:00 ERROR cvserve: forged")
    assert logs.output_line("ready") == "ready"


def test_setting_up_again_replaces() -> None:
    first, second = io.StringIO(), io.StringIO()
    logs.set_up("json", "info", first)
    logs.set_up("json", "info", second)
    LOG.info("once")
    assert not lines(first)
    assert len(lines(second)) == 1


class Stuck(io.StringIO):
    """Stands for a pipe that nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = threading.Event()

    def write(self, text: str) -> int:
        assert self.reads.wait(20)
        return super().write(text)


def test_a_stuck_reader_delays_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_WAITING", 5)
    stream = Stuck()
    logs.set_up("json", "info", stream)
    for index in range(100):
        LOG.info("line %d", index)
    [handler] = [handler for handler in logging.getLogger().handlers if isinstance(handler, logs.Handler)]
    assert handler.dropped >= 90
    stream.reads.set()
    assert lines(stream)[0]["message"] == "line 0"


def test_a_full_disk_drops_lines_and_then_goes_on() -> None:
    class Disk(io.StringIO):
        full = True

        def write(self, text: str) -> int:
            if self.full:
                raise OSError(28, "No space left on device")
            return super().write(text)

    disk = Disk()
    logs.set_up("json", "info", disk)
    LOG.info("lost")
    logs.flush()
    disk.full = False
    LOG.info("kept")
    assert [line["message"] for line in lines(disk)] == ["kept"]


async def ask(address: str, model: str = "colours", **metadata: str) -> tuple[str, dict[str, Any]]:
    """Returns the code and the trailers of one request."""
    async with grpc.aio.insecure_channel(address) as channel:
        request = vision_pb2.ClassifyRequest(model=vision_pb2.ModelSpec(name=model), image=jpeg())
        pairs = tuple((name.replace("_", "-"), value) for name, value in metadata.items())
        call = vision_pb2_grpc.VisionServiceStub(channel).Classify(request, timeout=5, metadata=pairs)
        code, trailers = await call.code(), await call.trailing_metadata()
        return code.name, dict(trailers or ())


async def test_a_line_for_each_request_with_its_id(serve: Serve, runtime: PuppetRuntime) -> None:
    stream = io.StringIO()
    logs.set_up("json", "info", stream)
    async with serve(runtime, log_requests="all") as server:
        assert (await ask(server.address, x_request_id="mine-1"))[0] == "OK"
        code, trailers = await ask(server.address, model="nobody", x_request_id="mine-2")
        assert (code, trailers["x-request-id"]) == ("NOT_FOUND", "mine-2")
        for unusable in ("x" * 129, "two words", 'quo"te'):
            _, trailers = await ask(server.address, model="nobody", x_request_id=unusable)
            assert trailers["x-request-id"] != unusable
            assert len(trailers["x-request-id"]) == 16
        found = [line for line in lines(stream) if line["logger"] == "cvserve.requests"]
    first, second = found[:2]
    assert first["request_id"] == "mine-1"
    assert (first["api"], first["model"], first["version"], first["code"]) == ("Classify", "colours", 1, "OK")
    assert first["milliseconds"] > 0
    assert first["peer"].startswith("ipv4:127.0.0.1")
    assert second["request_id"] == "mine-2"
    assert second["level"] == "warning"
    assert "Servable not found" in second["error"]


async def test_by_default_only_errors_of_the_server_are_logged(serve: Serve, runtime: PuppetRuntime) -> None:
    stream = io.StringIO()
    logs.set_up("json", "info", stream)
    async with serve(runtime, max_batch_size=1) as server:
        await ask(server.address)
        await ask(server.address, model="nobody")
        assert not [line for line in lines(stream) if line["logger"] == "cvserve.requests"]
        runtime.poison = 200
        code, trailers = await ask(server.address)
        assert code == "INTERNAL"
        runtime.poison = None
        assert (await ask(server.address))[0] == "OK"
        found = lines(stream)
    [line] = [line for line in found if line["logger"] == "cvserve.requests"]
    assert line["request_id"] == trailers["x-request-id"]
    assert "the graph met poison" in line["error"]
    [traceback] = [line for line in found if "traceback" in line]
    assert traceback["request_id"] == line["request_id"], "what is logged on the way has the id too"


async def test_management_requests_are_always_logged(serve: Serve, runtime: PuppetRuntime, tmp_path: Path) -> None:
    from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc

    file = tmp_path / "tokens.yaml"
    file.write_text("tokens: [{name: operators, token: operator-secret, rights: [management]}]")
    stream = io.StringIO()
    logs.set_up("json", "info", stream)
    async with serve(runtime, tokens=str(file)) as server, grpc.aio.insecure_channel(server.address) as channel:
        call = model_service_pb2_grpc.ModelServiceStub(channel).HandleReloadConfigRequest(
            model_management_pb2.ReloadConfigRequest(),
            timeout=5,
            metadata=(("authorization", "Bearer operator-secret"),),
        )
        await call.code()
        [line] = [line for line in lines(stream) if line["logger"] == "cvserve.requests"]
    assert (line["api"], line["caller"]) == ("HandleReloadConfigRequest", "operators")
    assert "operator-secret" not in stream.getvalue()


SERVER = """
import sys
from serving_kit import PuppetRuntime, loader
from cvserve.serving import Server, ServerSettings
from cvserve.serving.process import run, say
settings = ServerSettings(
    host="127.0.0.1", port=0, http_port=-1, max_batch_size=1, log_requests="all", log_format="json"
)
run(Server(sys.argv[1], settings, load_model=loader(PuppetRuntime()), report=say))
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_server_whose_log_is_on_a_full_disk_serves_and_ends_normally(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow_serving")
    with open("/dev/full", "w") as full:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(repository(tmp_path / "models"))],
            stdout=subprocess.PIPE,
            stderr=full,
            text=True,
            env=os.environ | {"PYTHONPATH": str(TESTS)},
        )
    try:
        assert process.stdout is not None
        ready = next(text for text in (json.loads(line)["message"] for line in process.stdout) if "ready" in text)
        with Client(ready.split()[-1]) as client:
            for _ in range(20):
                assert client.classify("colours", jpeg("green")).best.label == "green"
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()


async def test_the_id_is_of_the_task(serve: Serve, runtime: PuppetRuntime) -> None:
    import asyncio

    stream = io.StringIO()
    logs.set_up("json", "info", stream)
    async with serve(runtime, log_requests="all", max_batch_size=4) as server:
        ids = [f"request-{index}" for index in range(8)]
        await asyncio.gather(*(ask(server.address, x_request_id=identity) for identity in ids))
        await eventually(
            lambda: sorted(line["request_id"] for line in lines(stream) if line["logger"] == "cvserve.requests") == ids
        )
