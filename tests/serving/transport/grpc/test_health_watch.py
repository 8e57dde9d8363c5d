"""The health service: watchers that do not read, names that are added and removed, List, the end of a drain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from serving_kit import PuppetRuntime, Serve, eventually, jpeg

from cvserve.client import AsyncClient, Client, Health
from cvserve.errors import CvserveError, NotFound, Unavailable
from cvserve.serving.core.manager import State, VersionStatus

health_pb2 = pytest.importorskip("grpc_health.v1.health_pb2")
health_pb2_grpc = pytest.importorskip("grpc_health.v1.health_pb2_grpc")
pytest.importorskip("tensorflow_serving")


class Stuck:
    """Stands for a call whose client does not read."""

    def __init__(self) -> None:
        self.written: list[int] = []
        self.reads = asyncio.Event()

    async def write(self, message: Any) -> None:
        self.written.append(message.status)
        await self.reads.wait()


def status(name: str, version: int, state: State) -> VersionStatus:
    return VersionStatus(name, version, state)


async def test_a_stuck_watcher_delays_no_other() -> None:
    from cvserve.serving.transport.grpc.health import Health as Service

    service, stuck, other = Service(), Stuck(), Stuck()
    other.reads.set()
    service.starting()
    request = health_pb2.HealthCheckRequest(service="m")
    watching = [asyncio.ensure_future(service.Watch(request, context)) for context in (stuck, other)]  # type: ignore[arg-type]
    await eventually(lambda: len(other.written) == 1)
    # None of these waits for the stuck one.
    for state in (State.LOADING, State.AVAILABLE, State.UNLOADING, State.AVAILABLE):
        service.update([status("m", 1, state)], True)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    service.draining()
    await eventually(lambda: other.written == [3, 2, 1, 2, 1, 2])
    assert stuck.written == [3]
    # It missed states that it did not read, but it gets the current one.
    stuck.reads.set()
    await eventually(lambda: stuck.written == [3, 2])
    service.close()
    for task in watching:
        with pytest.raises(Unavailable):
            await task
    assert not service._watchers


async def test_watchers_get_the_last_state_also_where_drain_and_end_come_together() -> None:
    from cvserve.serving.transport.grpc.health import Health as Service

    service, context = Service(), Stuck()
    context.reads.set()
    service.starting()
    service.update([status("m", 1, State.AVAILABLE)], True)
    watching = asyncio.ensure_future(service.Watch(health_pb2.HealthCheckRequest(service="m"), context))  # type: ignore[arg-type]
    await eventually(lambda: context.written == [1])
    # Nothing runs between the two: how many turns of the loop lie between them differs between versions of Python.
    service.draining()
    service.close()
    with pytest.raises(Unavailable):
        await watching
    assert context.written == [1, 2]


async def test_a_watcher_that_does_not_read_does_not_delay_a_drain(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime, grace_seconds=60) as server, grpc.aio.insecure_channel(server.address) as channel:
        calls = [
            health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="colours"))
            for _ in range(20)
        ]
        await calls[0].read()
        await eventually(lambda: len(server.health._watchers["colours"]) == 20)
        started = asyncio.get_running_loop().time()
        assert await server.drain()
        assert asyncio.get_running_loop().time() - started < server.settings.grace_seconds / 4


async def test_an_unknown_name_can_be_added_and_removed() -> None:
    from cvserve.serving.transport.grpc.health import Health as Service

    service, context = Service(), Stuck()
    context.reads.set()
    service.starting()
    watching = asyncio.ensure_future(service.Watch(health_pb2.HealthCheckRequest(service="m/2"), context))  # type: ignore[arg-type]
    await eventually(lambda: context.written == [3])
    service.update([status("m", 1, State.AVAILABLE)], True)
    service.update([status("m", 1, State.AVAILABLE), status("m", 2, State.AVAILABLE)], True)
    await eventually(lambda: context.written == [3, 1])
    assert (await service.Check(health_pb2.HealthCheckRequest(service="m"), None)).status == 1  # type: ignore[arg-type]
    service.update([], True)
    await eventually(lambda: context.written == [3, 1, 3])
    with pytest.raises(NotFound):
        await service.Check(health_pb2.HealthCheckRequest(service="m"), None)  # type: ignore[arg-type]
    watching.cancel()


async def test_list(serve: Serve) -> None:
    async with serve() as server, grpc.aio.insecure_channel(server.address) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).List(health_pb2.HealthListRequest())
        assert {"", "cvserve.v1.VisionService", "PredictionService", "colours", "colours/1"} <= set(answer.statuses)
        assert {state.status for state in answer.statuses.values()} == {1}


async def test_the_clients_ask_for_health(serve: Serve) -> None:
    async with serve() as server, AsyncClient(server.address) as client:
        for name in ("", "cvserve.v1.VisionService", "colours", "colours/1"):
            assert await client.health(name) is Health.SERVING
        with Client(server.address) as blocking:
            assert await asyncio.to_thread(blocking.health) is Health.SERVING
            with pytest.raises(NotFound, match="no service and no model 'roses' here"):
                await asyncio.to_thread(blocking.health, "roses")
        with pytest.raises(NotFound):
            await client.health("r" * 300)


async def test_the_clients_watch_it_until_the_server_ends(serve: Serve) -> None:
    seen: dict[str, list[Health]] = {"awaited": [], "blocking": []}
    ends: list[CvserveError] = []

    def watch(client: Client) -> None:
        try:
            seen["blocking"].extend(client.watch_health("colours"))
        except CvserveError as error:
            ends.append(error)

    async def follow(states: AsyncIterator[Health]) -> None:
        try:
            async for state in states:
                seen["awaited"].append(state)
        except CvserveError as error:
            ends.append(error)

    async with serve() as server, AsyncClient(server.address) as client:
        with Client(server.address) as blocking:
            awaited = asyncio.ensure_future(follow(client.watch_health("colours")))
            thread = asyncio.ensure_future(asyncio.to_thread(watch, blocking))
            await eventually(lambda: len(server.health._watchers.get("colours", ())) == 2)
            await client.classify("colours", jpeg())
            assert await server.drain()
            await asyncio.gather(awaited, thread)
    assert seen == {name: [Health.SERVING, Health.NOT_SERVING] for name in seen}
    assert [type(error) for error in ends] == [Unavailable] * 2
    assert all("the server is shutting down" in str(error) for error in ends)


async def test_reflection_has_both_of_its_names(serve: Serve) -> None:
    from google.protobuf import descriptor_pb2
    from grpc_reflection.v1alpha import reflection_pb2

    async with serve() as server, grpc.aio.insecure_channel(server.address) as channel:
        for name in ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"):
            call = channel.stream_stream(
                f"/{name}/ServerReflectionInfo",
                reflection_pb2.ServerReflectionRequest.SerializeToString,
                reflection_pb2.ServerReflectionResponse.FromString,
            )
            requests = [
                reflection_pb2.ServerReflectionRequest(list_services="*"),
                reflection_pb2.ServerReflectionRequest(file_containing_symbol=name),
                reflection_pb2.ServerReflectionRequest(file_containing_symbol="no.such.Service"),
            ]
            listed, described, unknown = [answer async for answer in call(iter(requests))]
            assert name in {service.name for service in listed.list_services_response.service}
            [data] = described.file_descriptor_response.file_descriptor_proto
            assert descriptor_pb2.FileDescriptorProto.FromString(data).service[0].name == "ServerReflection"
            assert unknown.error_response.error_code == 5
