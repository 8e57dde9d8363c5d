"""Deadlines, cancellation, full queues and bad rows, over real sockets."""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

import grpc
import numpy as np
import pytest
from serving_kit import PuppetRuntime, Serve, eventually, jpeg, pixels, slept

from cvserve.client import AsyncClient
from cvserve.errors import CvserveError, DeadlineExceeded, InvalidInput, Overloaded
from cvserve.protos import vision_pb2, vision_pb2_grpc
from cvserve.serving import Server
from cvserve.serving.core.batching.queue import BatchQueue
from cvserve.serving.core.engine import ModelRef, PredictRequest
from cvserve.serving.transport.grpc.calls import refuse


def queue(server: Server) -> BatchQueue:
    with server.engine.manager.acquire("colours") as servable:
        return servable.queue


async def test_requests_that_wait_share_a_batch(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime, max_batch_size=4) as server, AsyncClient(server.address) as client:
        runtime.gate.clear()
        tasks = [asyncio.ensure_future(client.classify("colours", jpeg()))]
        await runtime.wait_for_call()
        tasks += [asyncio.ensure_future(client.classify("colours", jpeg(color))) for color in ["blue"] * 6]
        await eventually(lambda: queue(server).waiting == 6)
        runtime.gate.set()
        results = await asyncio.gather(*tasks)
        # The number that was decoded by then depends on the machine.
        assert runtime.batch_sizes[0] == 1
        assert sum(runtime.batch_sizes) == 7
        assert len(runtime.batch_sizes) < 7
        assert max(runtime.batch_sizes) <= 4
        assert [result.best.label for result in results] == ["red"] + ["blue"] * 6


async def test_batching_off(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime, batching=False) as server, AsyncClient(server.address) as client:
        await asyncio.gather(*(client.classify("colours", jpeg()) for _ in range(12)))
        assert runtime.batch_sizes == [1] * 12


async def test_a_deadline_is_answered_on_time_while_a_long_batch_runs(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime) as server, AsyncClient(server.address) as client:
        runtime.gate.clear()
        long = asyncio.ensure_future(client.classify("colours", jpeg("green")))
        await runtime.wait_for_call()
        timer = asyncio.ensure_future(slept(0.3))
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded, match=r"did not answer within 0.3 s"):
            await client.classify("colours", jpeg("red"), timeout=0.3)
        assert time.monotonic() - started < 1.6 * await timer
        # The server has cancelled it too, and never runs it.
        await eventually(lambda: queue(server).waiting == 0 and server.engine.in_flight == 1)
        runtime.gate.set()
        assert (await long).best.label == "green"
        await client.classify("colours", jpeg("blue"))
        assert runtime.batch_sizes == [1, 1]


async def test_the_server_itself_keeps_the_deadline(serve: Serve, runtime: PuppetRuntime) -> None:
    """Without the client's own timer, which gRPC clients have as well."""
    async with serve(runtime) as server:
        loop = asyncio.get_running_loop()
        runtime.gate.clear()
        first = asyncio.ensure_future(server.engine.answer(ModelRef("colours"), jpeg()))
        await runtime.wait_for_call()
        timer = asyncio.ensure_future(slept(0.3))
        started = loop.time()
        inputs = {"images": pixels("red")[np.newaxis]}
        calls: list[Any] = [
            server.engine.answer(ModelRef("colours"), jpeg(), deadline=started + 0.3),
            server.engine.predict(PredictRequest(ModelRef("colours"), "", inputs, deadline=started + 0.3)),
        ]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results] == [DeadlineExceeded] * 2
        assert 0.29 < loop.time() - started < 1.5 * await timer
        runtime.gate.set()
        await first
        assert runtime.batch_sizes == [1]


async def test_a_cancelled_request_never_runs(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime) as server, grpc.aio.insecure_channel(server.address) as channel:
        stub = vision_pb2_grpc.VisionServiceStub(channel)
        runtime.gate.clear()

        def ask() -> Any:
            return stub.Classify(vision_pb2.ClassifyRequest(model=vision_pb2.ModelSpec(name="colours"), image=jpeg()))

        running = ask()
        await runtime.wait_for_call()
        waiting = [ask() for _ in range(3)]
        await eventually(lambda: queue(server).waiting == 3)
        for call in waiting[:2]:
            call.cancel()
        await eventually(lambda: queue(server).waiting == 1)
        runtime.gate.set()
        await running
        await waiting[2]
        assert runtime.batch_sizes == [1, 1]
        await eventually(lambda: server.engine.in_flight == 0)


async def test_requests_of_a_client_that_goes_away_are_cancelled(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime) as server:
        runtime.gate.clear()
        client = AsyncClient(server.address)
        tasks = [asyncio.ensure_future(client.classify("colours", jpeg()))]
        await runtime.wait_for_call()
        tasks += [asyncio.ensure_future(client.classify("colours", jpeg())) for _ in range(3)]
        await eventually(lambda: queue(server).waiting == 3)
        await client.close()
        await eventually(lambda: queue(server).waiting == 0)
        runtime.gate.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        await eventually(lambda: server.engine.in_flight == 0)
        assert runtime.batch_sizes == [1]


async def test_a_refusal_that_no_client_hears_any_more_is_no_fault() -> None:
    class Gone:
        async def abort(self, *_: Any) -> None:
            raise grpc.aio.InternalError('Failed "execute_batch"')

    with pytest.raises(asyncio.CancelledError):
        await refuse(cast("Any", Gone()), Overloaded("full", 0.1))


async def test_a_full_queue_refuses_at_once_and_gives_the_time_to_try_again(
    serve: Serve, runtime: PuppetRuntime
) -> None:
    async with serve(runtime, max_queue_requests=2) as server, AsyncClient(server.address) as client:
        runtime.gate.clear()
        tasks = [asyncio.ensure_future(client.classify("colours", jpeg()))]
        await runtime.wait_for_call()
        tasks += [asyncio.ensure_future(client.classify("colours", jpeg())) for _ in range(2)]
        await eventually(lambda: queue(server).waiting == 2)
        with pytest.raises(Overloaded, match="the queue of model 'colours' is full") as error:
            await client.classify("colours", jpeg())
        assert not any(task.done() for task in tasks), "the refusal did not wait for the graph"
        assert error.value.retry_after == 0.1
        runtime.gate.set()
        await asyncio.gather(*tasks)
        assert (await client.classify("colours", jpeg("blue"))).best.label == "blue"


async def test_a_bad_row_fails_only_its_own_request(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime, max_batch_size=8) as server:
        runtime.poison = 66
        runtime.gate.clear()

        def ask(color: str, brightness: int = 200) -> asyncio.Task[Any]:
            inputs = {"images": pixels(color, brightness=brightness)[np.newaxis]}
            return asyncio.ensure_future(server.engine.predict(PredictRequest(ModelRef("colours"), "", inputs)))

        tasks = [ask("green")]
        await runtime.wait_for_call()
        tasks += [ask("blue"), ask("red", 66), ask("green")]
        await eventually(lambda: queue(server).waiting == 3)
        runtime.gate.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert runtime.batch_sizes == [1, 3, 1, 1, 1]
        assert [str(result) for result in results if isinstance(result, BaseException)] == ["the graph met poison"]
        best = [result.outputs["probabilities"].argmax() for result in results if not isinstance(result, BaseException)]
        assert best == [1, 2, 1]


async def test_a_failing_graph_is_internal_and_other_requests_are_answered(
    serve: Serve, runtime: PuppetRuntime
) -> None:
    async with serve(runtime) as server, AsyncClient(server.address) as client:
        runtime.poison = 199
        image = pixels("red", brightness=199)
        with pytest.raises(CvserveError, match="internal error: RuntimeError: the graph met poison"):
            await client.classify("colours", image)
        assert (await client.classify("colours", jpeg("blue"))).best.label == "blue"


async def test_priorities_come_in_the_metadata_and_wrong_ones_are_refused(serve: Serve, runtime: PuppetRuntime) -> None:
    runtime.gate.clear()
    async with (
        serve(runtime, max_batch_size=1, priority_levels=2) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        stub = vision_pb2_grpc.VisionServiceStub(channel)

        def ask(color: str, priority: str | None = None) -> asyncio.Future[Any]:
            request = vision_pb2.ClassifyRequest(model=vision_pb2.ModelSpec(name="colours"), image=jpeg(color))
            metadata = () if priority is None else (("x-priority", priority),)
            return asyncio.ensure_future(stub.Classify(request, timeout=10, metadata=metadata))

        running = ask("red")
        await runtime.wait_for_call()
        late = ask("green", "2")
        with server.engine.manager.acquire("colours") as servable:
            await eventually(lambda: servable.queue.waiting == 1)
            first = ask("blue", "1")
            await eventually(lambda: servable.queue.waiting == 2)
        runtime.gate.set()
        await asyncio.gather(running, late, first)
        assert [int(call[0, 0, 0].argmax()) for call in runtime.calls] == [0, 2, 1]
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await ask("red", "urgent")
        assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "'urgent' is not a priority" in (error.value.details() or "")


async def test_another_shape_fails_alone(serve: Serve) -> None:
    async with serve(max_batch_size=8) as server:

        def ask(*shape: int) -> asyncio.Task[Any]:
            inputs = {"images": np.zeros(shape, np.uint8)}
            return asyncio.ensure_future(server.engine.predict(PredictRequest(ModelRef("colours"), "", inputs)))

        tasks = [ask(1, 16, 16, 3), ask(1, 8, 8, 3), ask(2, 16, 16, 3), ask(1, 16, 16, 1)]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) is InvalidInput for result in results] == [False, True, False, True]
        assert queue(server).counts.retried == 0


async def test_a_large_request_is_split_and_answered_in_order(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime, max_batch_size=4) as server:
        images = np.stack([pixels(color) for color in ["red", "green", "blue"] * 4])[:10]
        answer = await server.engine.predict(PredictRequest(ModelRef("colours"), "", {"images": images}))
        assert runtime.batch_sizes == [4, 4, 2]
        assert answer.outputs["probabilities"].argmax(axis=1).tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]


async def test_several_instances_run_at_the_same_time(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime, workers=2, max_batch_size=1) as server, AsyncClient(server.address) as client:
        runtime.gate.clear()
        tasks = [asyncio.ensure_future(client.classify("colours", jpeg())) for _ in range(3)]
        await runtime.wait_for_call()
        await runtime.wait_for_call()
        await eventually(lambda: queue(server).waiting == 1)
        assert len(runtime.calls) == 2
        runtime.gate.set()
        await asyncio.gather(*tasks)


async def test_a_message_over_the_limit_is_refused_with_the_limit(serve: Serve) -> None:
    async with serve(max_message_bytes=100_000) as server, AsyncClient(server.address) as client:
        with pytest.raises(InvalidInput, match=r"larger than max .*too large for one message"):
            await client.classify("colours", b"x" * 200_000)
        assert (await client.classify("colours", jpeg())).best.label == "red"
