"""Runs clients in their own process: clients that each wait for their answer, or requests at a fixed rate.

Requests are serialised once and answers are not parsed, so that the clients cost little of the cores that they share
with the server. A client on HTTP/2 of our own saved no more than 2.9 % of an image's processor time beside grpcio's
(2 cores of an AMD EPYC, 2026-12-01), and was removed.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import grpc
import numpy as np

from cvserve.bench.images import read_images
from cvserve.bench.processes import Helper, serve_orders
from cvserve.protos import vision_pb2
from cvserve.serving.event_loop import run_loop

CHANNELS = 4
_METHOD = "/cvserve.v1.VisionService/Classify"
_TIMEOUT_SECONDS = 60.0
_OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),
    # A burst of requests is sent in one write rather than in many of 64 kB.
    ("grpc.http2.lookahead_bytes", 4 << 20),
]

OK = grpc.StatusCode.OK.value[0]

Done = Callable[[int, bytes], None]
"""Takes the number of the status and the answer of a call."""


class Refused(Exception):
    """A call ended with another status than OK."""

    def __init__(self, code: int) -> None:
        super().__init__(f"gRPC status {code}")
        self.code = code


class Clients:
    """Starts the process of the clients, and sends it orders to measure."""

    def __init__(self, model: str, images: Path, kind: str = "grpc") -> None:
        """Starts the process.

        Args:
            model: its name in the server.
            images: a folder that `write_images` filled.
            kind: one of `KINDS`.
        """
        self._helper = Helper("cvserve.bench.clients", model, str(images), kind)

    def waiting(self, target: str, clients: int, seconds: float, warm_seconds: float = 1.0) -> dict[str, float]:
        """Measures a number of clients, each of which sends its next request when it has an answer.

        Returns:
            {"rate": answers per second, "p50", "p95", "p99": milliseconds, "cpu_ms": the clients' processor time per
            image, "calls": all calls, also those before and after the measured time}.
        """
        return self._helper.ask(
            do="waiting", target=target, clients=clients, seconds=seconds, warm_seconds=warm_seconds
        )

    def overload(self, target: str, rate: float, deadline: float, seconds: float) -> dict[str, Any]:
        """Sends requests at random times, `rate` per second whether or not the server answers, each with a deadline.

        Returns:
            {"offered": requests sent per second, "good": answers per second within the deadline, "p50", "p95", "p99":
            milliseconds of the good ones, "rejects": their number, "reject_p50", "reject_p99": milliseconds of the
            rejects, "codes": the number of each gRPC code, "lone_ms": milliseconds of one request right afterwards};
            None for a figure without any such answer.
        """
        return self._helper.ask(do="overload", target=target, rate=rate, deadline=deadline, seconds=seconds)

    def close(self) -> None:
        """Ends the process."""
        self._helper.close()


class _Begin(Protocol):
    """Begins a call. done: is called with its code and answer when it ends, on the loop's thread."""

    def __call__(self, request: bytes, timeout: float, done: Done, /) -> None: ...


OpenCalls = Callable[[str], AbstractAsyncContextManager[list[_Begin]]]
"""Opens a few connections to host:port; yields for each a function that begins a call on it."""


class _Measurements:
    """Measures inside the process."""

    def __init__(self, requests: Sequence[bytes], open_calls: OpenCalls) -> None:
        self._requests, self._open_calls = requests, open_calls

    def waiting(self, *, target: str, clients: int, seconds: float, warm_seconds: float) -> dict[str, float]:
        return run_loop(_waiting(self._open_calls(target), self._requests, clients, seconds, warm_seconds))

    def overload(self, *, target: str, rate: float, deadline: float, seconds: float) -> dict[str, Any]:
        return run_loop(_overload(self._open_calls(target), self._requests, rate, deadline, seconds))


@asynccontextmanager
async def _grpc(target: str) -> AsyncIterator[list[_Begin]]:
    """Opens channels of grpcio."""
    channels = [grpc.aio.insecure_channel(target, options=_OPTIONS) for _ in range(CHANNELS)]
    tasks: set[asyncio.Task[None]] = set()

    def beginning(channel: grpc.aio.Channel) -> _Begin:
        method = channel.unary_unary(_METHOD)

        async def call(request: bytes, timeout: float, done: Done) -> None:
            code, answer = OK, b""
            try:
                answer = await method(request, timeout=timeout)
            except grpc.aio.AioRpcError as error:
                code = error.code().value[0]
            done(code, answer)

        def begin(request: bytes, timeout: float, done: Done) -> None:
            task = asyncio.ensure_future(call(request, timeout, done))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        return begin

    try:
        yield [beginning(channel) for channel in channels]
    finally:
        for channel in channels:
            await channel.close()


# "light" was a client of our own; command lines and plans of earlier versions may name it.
KINDS: dict[str, OpenCalls] = {"light": _grpc, "grpc": _grpc}
_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}
_EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]


async def _answered(begin: _Begin, request: bytes) -> None:
    """Waits for one answer.

    Raises:
        Refused: the code is not OK.
    """
    end: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    begin(request, _TIMEOUT_SECONDS, lambda code, _: None if end.done() else end.set_result(code))
    if (code := await end) != OK:
        raise Refused(code)


def _from(requests: Sequence[bytes], index: int) -> Iterator[bytes]:
    """Repeats the requests without end, from `index` on: each client starts with another one."""
    at = index % len(requests)
    return itertools.cycle([*requests[at:], *requests[:at]])


async def _waiting(
    opening: AbstractAsyncContextManager[list[_Begin]],
    requests: Sequence[bytes],
    clients: int,
    seconds: float,
    warm_seconds: float,
) -> dict[str, float]:
    answered: list[float] = []
    calls = 0
    async with opening as begins:
        ends = [asyncio.get_running_loop().create_future() for _ in range(clients)]
        warm_until = time.perf_counter() + warm_seconds
        end = warm_until + seconds

        def client(index: int) -> None:
            begin, source, ended = begins[index % CHANNELS], _from(requests, index), ends[index]
            start = 0.0

            def ask() -> None:
                nonlocal start
                start = time.perf_counter()
                begin(next(source), _TIMEOUT_SECONDS, done)

            def done(code: int, _: bytes) -> None:
                nonlocal calls
                if code != OK:
                    ended.set_exception(Refused(code))
                    return
                calls += 1
                now = time.perf_counter()
                if warm_until <= now <= end:
                    answered.append(now - start)
                if now < end:
                    ask()
                else:
                    ended.set_result(None)

            ask()

        for index in range(clients):
            client(index)
        everyone = asyncio.gather(*ends)
        cpu = 0.0
        for until in (warm_until, end):
            await asyncio.wait([everyone], timeout=until - time.perf_counter())
            cpu = time.process_time() - cpu
        await everyone
    if not answered:
        raise SystemExit(f"nothing was answered in {seconds} s")
    return {
        "rate": len(answered) / seconds,
        **_percentiles(answered),
        "cpu_ms": cpu * 1000 / len(answered),
        "calls": calls,
    }


async def _overload(
    opening: AbstractAsyncContextManager[list[_Begin]],
    requests: Sequence[bytes],
    rate: float,
    deadline: float,
    seconds: float,
) -> dict[str, Any]:
    codes: Counter[str] = Counter()
    good: list[float] = []
    rejected: list[float] = []
    # Exponentially distributed gaps, as between the requests of many independent clients.
    gaps = np.random.default_rng(0).exponential(1 / rate, size=int(rate * seconds * 2) + 100).tolist()
    source = _from(requests, 0)
    async with opening as begins:
        for begin in begins:  # connects before the measurement starts
            await _answered(begin, next(source))
        loop = asyncio.get_running_loop()
        all_ended: asyncio.Future[None] = loop.create_future()
        start = due = time.perf_counter()
        end, sent, open_calls, took = start + seconds, 0, 0, 0.0

        def ask(begin: _Begin) -> None:
            nonlocal open_calls
            sent_at = time.perf_counter()

            def done(code: int, _: bytes) -> None:
                nonlocal open_calls
                now = time.perf_counter()
                codes[_NAMES.get(code, str(code))] += 1
                if code == _EXHAUSTED:
                    rejected.append(now - sent_at)
                # Answers after the measured time are those of the full queue, and do not count.
                elif code == OK and now <= end:
                    good.append(now - sent_at)
                open_calls -= 1
                if took and not open_calls:
                    all_ended.set_result(None)

            open_calls += 1
            begin(next(source), deadline, done)

        def send() -> None:
            nonlocal due, sent, took
            now = time.perf_counter()
            while due <= min(now, end):
                ask(begins[sent % CHANNELS])
                sent += 1
                due += gaps[sent]
            if due <= end:
                loop.call_later(due - now, send)
                return
            took = now - start
            if not open_calls:
                all_ended.set_result(None)

        due += gaps[0]
        send()
        await all_ended
        lone = time.perf_counter()
        await _answered(begins[0], next(source))
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
    """Prepares the requests, then measures for each order on the standard input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("images")
    parser.add_argument("kind", choices=KINDS)
    arguments = parser.parse_args()
    requests = [
        vision_pb2.ClassifyRequest(
            model=vision_pb2.ModelSpec(name=arguments.model), image=image, top_k=5
        ).SerializeToString()
        for image in read_images(arguments.images)
    ]
    measurements = _Measurements(requests, KINDS[arguments.kind])
    serve_orders({"waiting": measurements.waiting, "overload": measurements.overload}, len(requests))


if __name__ == "__main__":
    main()
