"""Limits on the resources of one client or one request."""

from __future__ import annotations

import asyncio
import time

import grpc
import pytest
from serving_kit import PuppetRuntime, Serve, jpeg

from cvserve.client import AsyncClient
from cvserve.errors import ImageError, InvalidInput, Overloaded
from cvserve.protos import vision_pb2, vision_pb2_grpc
from cvserve.serving.core.decode_pool import DecodePool
from cvserve.serving.core.loop_callbacks import LoopCallbacks

pytest.importorskip("tensorflow_serving")


def request() -> vision_pb2.ClassifyRequest:
    return vision_pb2.ClassifyRequest(model=vision_pb2.ModelSpec(name="colours"), image=jpeg())


async def test_images_with_too_many_pixels_are_refused_before_decoding(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime, max_pixels=40 * 30) as server, AsyncClient(server.address) as client:
        await client.classify("colours", jpeg(width=40, height=30))
        with pytest.raises(InvalidInput, match="pixels"):
            await client.classify("colours", jpeg(width=41, height=30))
    assert len(runtime.calls) == 1


async def test_the_limit_on_pixels_can_be_of_one_model(serve: Serve, runtime: PuppetRuntime) -> None:
    own = {"colours": {"max_pixels": 5000}}
    async with serve(runtime, max_pixels=10, models=own) as server, AsyncClient(server.address) as client:
        await client.classify("colours", jpeg())
        with pytest.raises((ImageError, InvalidInput), match="5,000"):
            await client.classify("colours", jpeg(width=100, height=51))


async def test_more_open_requests_than_allowed_are_refused_at_once(serve: Serve, runtime: PuppetRuntime) -> None:
    async with (
        serve(runtime, max_concurrent_rpcs=2, max_batch_size=1) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        stub = vision_pb2_grpc.VisionServiceStub(channel)
        runtime.gate.clear()
        accepted = [asyncio.ensure_future(stub.Classify(request(), timeout=10)) for _ in range(2)]
        await runtime.wait_for_call()
        await asyncio.sleep(0.1)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.Classify(request(), timeout=10)
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert not any(task.done() for task in accepted), "the refusal did not wait for the graph"
        runtime.gate.set()
        await asyncio.gather(*accepted)
        await stub.Classify(request(), timeout=10)


async def test_further_streams_of_a_connection_wait_in_the_client(serve: Serve, runtime: PuppetRuntime) -> None:
    async with (
        serve(runtime, max_concurrent_streams=1, max_batch_size=1) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        stub = vision_pb2_grpc.VisionServiceStub(channel)
        await stub.Classify(request(), timeout=10)  # by now the client knows the bound
        runtime.gate.clear()
        calls = [asyncio.ensure_future(stub.Classify(request(), timeout=10)) for _ in range(3)]
        await runtime.wait_for_call()
        await asyncio.sleep(0.2)
        assert server.in_flight == 1
        runtime.gate.set()
        await asyncio.gather(*calls)


async def test_a_full_decode_pool_gives_the_time_to_try_again() -> None:
    loop = asyncio.get_running_loop()
    pool = DecodePool(1, 2, 1 << 20, LoopCallbacks(loop))
    try:
        # The pool measures images of 50 ms.
        began = loop.time()
        await pool.run(lambda: time.sleep(0.05))
        took = loop.time() - began
        waiting = [asyncio.ensure_future(pool.run(lambda: time.sleep(0.05))) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as error:
            await pool.run(lambda: None)
        assert 0.14 < error.value.retry_after <= 3 * took
        await asyncio.gather(*waiting)
    finally:
        pool.close()


async def test_the_answer_to_an_overloaded_client_has_the_time_in_its_trailers(
    serve: Serve, runtime: PuppetRuntime
) -> None:
    async with (
        serve(runtime, max_queue_requests=1, max_batch_size=1) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        stub = vision_pb2_grpc.VisionServiceStub(channel)
        runtime.gate.clear()
        began = time.monotonic()
        first = asyncio.ensure_future(stub.Classify(request(), timeout=10))
        await runtime.wait_for_call()
        await asyncio.sleep(0.3)
        runtime.gate.set()
        await first
        took = time.monotonic() - began
        runtime.gate.clear()
        calls = [asyncio.ensure_future(stub.Classify(request(), timeout=10)) for _ in range(6)]
        done, waiting = await asyncio.wait(calls, timeout=2)
        errors = [call.exception() for call in done]
        assert errors
        for error in errors:
            assert isinstance(error, grpc.aio.AioRpcError)
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            after = dict(error.trailing_metadata())["grpc-retry-pushback-ms"]
            assert 250 <= int(after) < 6000 * took, "the batch before took 300 ms"
        runtime.gate.set()
        await asyncio.gather(*waiting)
