"""The benchmark's own gRPC client against gRPC's own server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from cvserve.bench.http2 import CANCELLED, DEADLINE_EXCEEDED, UNAVAILABLE, Connection, Refused

METHOD = "/test.Echo/Call"


class Echo(grpc.GenericRpcHandler):
    """Answers with the request; "wait" never, "refuse" with INVALID_ARGUMENT."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.timeouts: list[float | None] = []

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        return grpc.unary_unary_rpc_method_handler(self._call) if details.method == METHOD else None

    async def _call(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        self.timeouts.append(context.time_remaining())
        if request == b"refuse":
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no")
        if request == b"wait":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        return request


@asynccontextmanager
async def echo(method: str = METHOD, **options: Any) -> AsyncIterator[tuple[Echo, Connection, grpc.aio.Server]]:
    server = grpc.aio.server(options=[(f"grpc.{name}", value) for name, value in options.items()])
    handler = Echo()
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    connection = await Connection.open(f"127.0.0.1:{port}", method)
    try:
        yield handler, connection, server
    finally:
        connection.close()
        await server.stop(None)


def in_time(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 30))


def test_answers_come_to_their_own_calls() -> None:
    async def main() -> None:
        async with echo() as (_, connection, _):
            requests = [bytes([number]) * number for number in range(200)]
            assert await asyncio.gather(*map(connection.call, requests)) == requests

    in_time(main())


@pytest.mark.parametrize("options", [{}, {"http2.max_frame_size": 1 << 20, "http2.lookahead_bytes": 1 << 22}])
def test_large_messages_go_through_whatever_windows_the_server_opens(options: dict[str, int]) -> None:
    async def main() -> None:
        async with echo(**options) as (_, connection, _):
            requests = [bytes([number]) * 1_000_000 for number in range(8)]
            assert await asyncio.gather(*map(connection.call, requests)) == requests

    in_time(main())


def test_no_more_streams_than_the_server_allows() -> None:
    async def main() -> None:
        async with echo(max_concurrent_streams=3) as (handler, connection, _):
            waiting = [asyncio.ensure_future(connection.call(b"wait")) for _ in range(3)]
            late = asyncio.ensure_future(connection.call(b"late"))
            while len(handler.timeouts) < 3:
                await asyncio.sleep(0.01)
            assert not late.done()
            waiting[0].cancel()
            assert await late == b"late"
            for call in waiting:
                call.cancel()

    in_time(main())


def test_a_refusal_has_its_code() -> None:
    async def main() -> None:
        async with echo() as (_, connection, _):
            with pytest.raises(Refused) as refused:
                await connection.call(b"refuse")
            assert refused.value.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
            assert await connection.call(b"next") == b"next"
        async with echo("/test.Echo/Unknown") as (_, connection, _):
            with pytest.raises(Refused) as refused:
                await connection.call(b"x")
            assert refused.value.code == grpc.StatusCode.UNIMPLEMENTED.value[0]

    in_time(main())


def test_a_deadline_is_told_to_the_server_and_kept_here() -> None:
    async def main() -> None:
        async with echo() as (handler, connection, _):
            with pytest.raises(Refused) as refused:
                await connection.call(b"wait", timeout=0.2)
            assert refused.value.code in (DEADLINE_EXCEEDED, CANCELLED)
            assert handler.timeouts[0] is not None
            assert 0 < handler.timeouts[0] <= 0.2
            await handler.cancelled.wait()

    in_time(main())


def test_a_cancelled_call_is_cancelled_on_the_server() -> None:
    async def main() -> None:
        async with echo() as (handler, connection, _):
            call = asyncio.ensure_future(connection.call(b"wait"))
            while not handler.timeouts:
                await asyncio.sleep(0.01)
            call.cancel()
            await handler.cancelled.wait()
            assert await connection.call(b"next") == b"next"

    in_time(main())


def test_calls_end_when_the_server_does() -> None:
    async def main() -> None:
        async with echo() as (handler, connection, server):
            call = asyncio.ensure_future(connection.call(b"wait"))
            while not handler.timeouts:
                await asyncio.sleep(0.01)
            await server.stop(None)
            with pytest.raises(Refused) as refused:
                await call
            assert refused.value.code in (UNAVAILABLE, CANCELLED)

    in_time(main())


def test_each_deadline_is_kept_in_whatever_order_they_come() -> None:
    async def main() -> None:
        async with echo() as (_, connection, _):
            loop = asyncio.get_running_loop()
            ended: dict[float, float] = {}
            begun = loop.time()

            async def wait(timeout: float) -> None:
                with pytest.raises(Refused):
                    await connection.call(b"wait", timeout=timeout)
                ended[timeout] = loop.time() - begun

            calls = [asyncio.ensure_future(wait(timeout)) for timeout in (0.5, 0.1, 0.3)]
            assert await connection.call(b"quick", timeout=0.05) == b"quick"
            await asyncio.gather(*calls)
            assert list(ended) == [0.1, 0.3, 0.5]
            # The server, which knows them too, may be a little quicker.
            assert all(timeout - 0.05 < seconds < timeout + 2 for timeout, seconds in ended.items()), ended

    in_time(main())


def test_calls_that_wait_for_their_turn_end_with_the_connection() -> None:
    async def main() -> None:
        async with echo(max_concurrent_streams=1) as (handler, connection, server):
            ends: list[int] = []
            for _ in range(3):
                connection.begin(b"wait", None, lambda code, _: ends.append(code))
            while not handler.timeouts:
                await asyncio.sleep(0.01)
            await server.stop(None)
            while len(ends) < 3:
                await asyncio.sleep(0.01)
            assert ends[1:] == [UNAVAILABLE, UNAVAILABLE]
            connection.begin(b"late", None, lambda code, _: ends.append(code))
            assert ends[3:] == [UNAVAILABLE]

    in_time(main())
