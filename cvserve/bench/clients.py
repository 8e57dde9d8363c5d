"""The clients, in a process of their own: a number that each wait for their answer, or a rate that does not care.

Requests are serialised once and answers are not parsed, and by default the calls are `http2`'s, not grpcio's, so that
the clients cost little of the cores they share with the server.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import grpc
import numpy as np

from cvserve.bench.http2 import Connection, Refused
from cvserve.bench.pictures import read_pictures
from cvserve.bench.processes import Helper, serve_orders
from cvserve.protos import vision_pb2
from cvserve.serving.event_loop import run_loop

CHANNELS = 4
_METHOD = "/cvserve.v1.VisionService/Classify"
_PATIENCE_SECONDS = 60.0
_OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),
    # Bursts leave in one write rather than in many of 64 kB.
    ("grpc.http2.lookahead_bytes", 4 << 20),
]


class Clients:
    """The other side of this module: starts the process and asks it."""

    def __init__(self, model: str, pictures: Path, kind: str = "light") -> None:
        """
        Args:
            model: the name that the server has for it.
            pictures: a folder that `write_pictures` filled.
            kind: "light", or "grpc" for clients as most people have them.
        """
        self._helper = Helper("cvserve.bench.clients", model, str(pictures), kind)

    def waiting(self, target: str, clients: int, seconds: float, warm_seconds: float = 1.0) -> dict[str, float]:
        """So many clients, each of which sends when it has its answer.

        Returns:
            {"rate": answers a second, "p50", "p95", "p99": milliseconds, "cpu_ms": the clients' own a picture, "calls":
            in all, those before and after the measured time too}.
        """
        return self._helper.ask(
            do="waiting", target=target, clients=clients, seconds=seconds, warm_seconds=warm_seconds
        )

    def pressing(self, target: str, rate: float, deadline: float, seconds: float) -> dict[str, Any]:
        """Requests at random times, `rate` a second whatever the server does, each with `deadline` seconds.

        Returns:
            {"offered": requests a second that were sent, "good": answers a second in it, "p50", "p95", "p99":
            milliseconds of the good ones, "rejects": how many, "reject_p50", "reject_p99": milliseconds of those,
            "codes": how many of each gRPC code, "lone_ms": of one request right afterwards}; None for what was not.
        """
        return self._helper.ask(do="pressing", target=target, rate=rate, deadline=deadline, seconds=seconds)

    def close(self) -> None:
        self._helper.close()


class _Call(Protocol):
    def __call__(self, request: bytes, timeout: float) -> Awaitable[Any]: ...


OpenCalls = Callable[[str], AbstractAsyncContextManager[list[_Call]]]


class _Process:
    def __init__(self, requests: Sequence[bytes], open_calls: OpenCalls) -> None:
        self._requests, self._open_calls = requests, open_calls

    def waiting(self, *, target: str, clients: int, seconds: float, warm_seconds: float) -> dict[str, float]:
        return run_loop(_waiting(self._open_calls(target), self._requests, clients, seconds, warm_seconds))

    def pressing(self, *, target: str, rate: float, deadline: float, seconds: float) -> dict[str, Any]:
        return run_loop(_pressing(self._open_calls(target), self._requests, rate, deadline, seconds))


@asynccontextmanager
async def _light(target: str) -> AsyncIterator[list[_Call]]:
    """A few connections, used in turn."""
    connections = [await Connection.open(target, _METHOD) for _ in range(CHANNELS)]
    try:
        yield [connection.call for connection in connections]
    finally:
        for connection in connections:
            connection.close()


@asynccontextmanager
async def _grpc(target: str) -> AsyncIterator[list[_Call]]:
    """The same with grpcio."""
    channels = [grpc.aio.insecure_channel(target, options=_OPTIONS) for _ in range(CHANNELS)]

    def calling(channel: grpc.aio.Channel) -> _Call:
        method = channel.unary_unary(_METHOD)

        async def call(request: bytes, timeout: float) -> Any:
            try:
                return await method(request, timeout=timeout)
            except grpc.aio.AioRpcError as error:
                raise Refused(error.code().value[0]) from None

        return call

    try:
        yield [calling(channel) for channel in channels]
    finally:
        for channel in channels:
            await channel.close()


KINDS: dict[str, OpenCalls] = {"light": _light, "grpc": _grpc}
_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}
_EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]


def _from(requests: Sequence[bytes], index: int) -> Iterator[bytes]:
    """The requests round and round, each client's from another one on."""
    at = index % len(requests)
    return itertools.cycle([*requests[at:], *requests[:at]])


async def _waiting(
    opening: AbstractAsyncContextManager[list[_Call]],
    requests: Sequence[bytes],
    clients: int,
    seconds: float,
    warm_seconds: float,
) -> dict[str, float]:
    answered: list[float] = []
    calls = 0
    async with opening as calls_of:
        warm_until = time.perf_counter() + warm_seconds
        end = warm_until + seconds

        async def client(index: int) -> None:
            nonlocal calls
            call, source = calls_of[index % CHANNELS], _from(requests, index)
            while (start := time.perf_counter()) < end:
                await call(next(source), timeout=_PATIENCE_SECONDS)
                calls += 1
                if warm_until <= (now := time.perf_counter()) <= end:
                    answered.append(now - start)

        tasks = [asyncio.ensure_future(client(index)) for index in range(clients)]
        try:
            await asyncio.sleep(warm_until - time.perf_counter())
            cpu = time.process_time()
            await asyncio.sleep(end - time.perf_counter())
            cpu = time.process_time() - cpu
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
    if not answered:
        raise SystemExit(f"nothing was answered in {seconds} s")
    return {
        "rate": len(answered) / seconds,
        **_percentiles(answered),
        "cpu_ms": cpu * 1000 / len(answered),
        "calls": calls,
    }


async def _pressing(
    opening: AbstractAsyncContextManager[list[_Call]],
    requests: Sequence[bytes],
    rate: float,
    deadline: float,
    seconds: float,
) -> dict[str, Any]:
    codes: Counter[str] = Counter()
    good: list[float] = []
    rejected: list[float] = []
    # Exponential gaps: the arrivals of many clients that do not know of each other.
    gaps = np.random.default_rng(0).exponential(1 / rate, size=int(rate * seconds * 2) + 100).tolist()
    source = _from(requests, 0)
    async with opening as calls_of:
        for call in calls_of:  # connected before the first one counts
            await call(next(source), timeout=_PATIENCE_SECONDS)

        async def ask(call: _Call, request: bytes) -> None:
            sent_at = time.perf_counter()
            try:
                await call(request, timeout=deadline)
            except Refused as error:
                codes[_NAMES.get(error.code, str(error.code))] += 1
                if error.code == _EXHAUSTED:
                    rejected.append(time.perf_counter() - sent_at)
            else:
                codes["OK"] += 1
                # What is answered after the pressing, from a queue that it filled, is no sign of what is done under it.
                if (now := time.perf_counter()) <= end:
                    good.append(now - sent_at)

        tasks: set[asyncio.Task[None]] = set()
        start = due = time.perf_counter()
        end, sent = start + seconds, 0
        for gap in gaps:
            due += gap
            if due > end:
                break
            if (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            task = asyncio.ensure_future(ask(calls_of[sent % CHANNELS], next(source)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            sent += 1
        took = time.perf_counter() - start
        if tasks:
            await asyncio.wait(tasks)
        lone = time.perf_counter()
        await calls_of[0](next(source), timeout=_PATIENCE_SECONDS)
        lone_ms = (time.perf_counter() - lone) * 1000
    rejects = _percentiles(rejected)
    return {
        "offered": sent / took,
        "good": len(good) / took,
        **_percentiles(good),
        "rejects": len(rejected),
        "reject_p50": rejects["p50"],
        "reject_p99": rejects["p99"],
        "codes": dict(codes),
        "lone_ms": lone_ms,
    }


def _percentiles(seconds: Sequence[float]) -> dict[str, Any]:
    if not seconds:
        return {"p50": None, "p95": None, "p99": None}
    p50, p95, p99 = (np.percentile(seconds, (50, 95, 99)) * 1000).tolist()
    return {"p50": p50, "p95": p95, "p99": p99}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("pictures")
    parser.add_argument("kind", choices=KINDS)
    words = parser.parse_args()
    requests = [
        vision_pb2.ClassifyRequest(
            model=vision_pb2.ModelSpec(name=words.model), image=image, top_k=5
        ).SerializeToString()
        for image in read_pictures(words.pictures)
    ]
    process = _Process(requests, KINDS[words.kind])
    serve_orders({"waiting": process.waiting, "pressing": process.pressing}, len(requests))


if __name__ == "__main__":
    main()
