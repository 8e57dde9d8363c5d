"""How a VisionService/Stream ends, over real sockets: by its client, a deadline, a drain or a limit."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from serving_kit import PuppetRuntime, Serve, eventually, jpeg, turns
from stream_kit import COLORS, frame, open_streams, seen, stream, under_way

from cvserve.client import AsyncClient

TESTS = Path(__file__).resolve().parents[3]


async def test_cancelling_a_stream_cancels_its_frames(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime, max_batch_size=1) as server, stream(server) as call, stream(server) as other:
        runtime.gate.clear()
        for number in range(5):
            await call.write(frame(number))
        await runtime.wait_for_call()
        await eventually(lambda: under_way(server) == 5)
        call.cancel()
        # The running one goes on.
        await eventually(lambda: under_way(server) == 0 and open_streams(server) == 1)
        runtime.gate.set()
        await other.write(frame(7))
        assert seen(await other.read()) == (7, "green")
        assert runtime.batch_sizes == [1, 1]


async def test_the_streams_deadline_ends_it(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime) as server, stream(server, timeout=0.4) as call:
        runtime.gate.clear()
        await call.write(frame(0))
        # The frame's own answer may still arrive, or not.
        with contextlib.suppress(grpc.aio.AioRpcError):
            assert seen(await call.read()) == (0, "DEADLINE_EXCEEDED")
        assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await eventually(lambda: under_way(server) == 0 and open_streams(server) == 0)
        runtime.gate.set()


async def test_a_drain_answers_the_frames_read_and_ends_the_stream(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime, max_batch_size=1) as server, stream(server) as call, stream(server) as idle:
        await idle.write(frame(0))
        await idle.read()
        runtime.gate.clear()
        for number in range(3):
            await call.write(frame(number))
        await eventually(lambda: under_way(server) == 3)
        draining = asyncio.ensure_future(server.drain())
        await turns()
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await idle.read()
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        async with stream(server) as late:
            assert await late.code() is grpc.StatusCode.UNAVAILABLE
        assert not draining.done()
        runtime.gate.set()
        assert [seen(await call.read()) for _ in range(3)] == [(number, COLORS[number]) for number in range(3)]
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call.read()
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        assert error.value.details() == "the server is shutting down"
        assert await draining


async def test_a_client_that_reads_no_answers_does_not_delay_a_drain(serve: Serve) -> None:
    async with serve(stream_window=4) as server, stream(server) as call:
        for number in range(4):
            await call.write(frame(number))
        await eventually(lambda: under_way(server) == 0)
        started = asyncio.get_running_loop().time()
        assert await server.drain()
        assert asyncio.get_running_loop().time() - started < 3


async def test_a_frame_over_the_limit_ends_the_stream_and_no_other(serve: Serve) -> None:
    async with serve(max_message_bytes=100_000) as server, stream(server) as call, stream(server) as other:
        await call.write(frame(0, b"x" * 200_000))
        assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await eventually(lambda: open_streams(server) == 1)
        await other.write(frame(1))
        assert seen(await other.read()) == (1, "green")


KILLED = """
import sys
from cvserve.client import Client

def frames():
    while True:
        yield open(sys.argv[2], "rb").read()

with Client(sys.argv[1]) as client:
    for count, answer in enumerate(client.stream("colours", frames())):
        print(count, flush=True)
"""


async def test_kill_9_of_a_client_in_the_middle_of_its_stream(
    serve: Serve, runtime: PuppetRuntime, tmp_path: Path
) -> None:
    image = tmp_path / "image.jpg"
    image.write_bytes(jpeg())
    async with serve(runtime, max_batch_size=2) as server, stream(server) as other:
        client = subprocess.Popen(
            [sys.executable, "-c", KILLED, server.address, str(image)],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(TESTS)},
        )
        try:
            assert client.stdout is not None
            assert await asyncio.to_thread(client.stdout.readline) == b"0\n"
            runtime.gate.clear()
            # The number of open frames is not known: images are decoded in parallel, so that one may have its
            # answer while the graph works on the one before it.
            await eventually(lambda: runtime.running == 1 and under_way(server) > 0, 20)
            client.send_signal(signal.SIGKILL)
            await asyncio.to_thread(client.wait)
            await eventually(lambda: under_way(server) == 0, 20)
            await eventually(lambda: open_streams(server) == 1, 20)
        finally:
            client.kill()
            runtime.gate.set()
        await other.write(frame(4))
        assert seen(await other.read()) == (4, "green")
        async with AsyncClient(server.address) as client_after:
            assert (await client_after.classify("colours", jpeg("blue"))).best.label == "blue"
