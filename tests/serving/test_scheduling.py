"""Which threads take cores at once."""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
from pathlib import Path

import grpc
import pytest

from cvserve.serving.core import scheduling
from cvserve.serving.core.scheduling import Hurry, stand_back, stands_back

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="scheduling policies are Linux's")


def in_a_thread(work: object) -> None:
    """A policy is a thread's own: the tests' one is left as it is."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(work())  # type: ignore[operator]
        except BaseException as error:  # noqa: BLE001 - raised below
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def test_a_loop_that_refuses_takes_cores_at_once_and_stands_back_when_it_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scheduling, "HURRY_SECONDS", 0.05)

    async def work() -> None:
        stand_back()
        hurry = Hurry()
        hurry.refused()
        assert not stands_back()
        await asyncio.sleep(0.03)
        hurry.refused()
        await asyncio.sleep(0.035)
        assert not stands_back(), "the last refusal counts"
        for _ in range(100):
            await asyncio.sleep(0.01)
            if stands_back():
                break
        assert stands_back()
        hurry.refused()
        assert not stands_back(), "and once more"

    in_a_thread(work)


def test_a_loop_that_never_stood_back_is_left_alone() -> None:
    async def work() -> None:
        Hurry().refused()
        await asyncio.sleep(0)
        assert not stands_back()
        assert len(asyncio.all_tasks()) == 1

    in_a_thread(work)


def test_grpcs_threads_hurry_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """By their name, those that are started meanwhile too. Others that stand back go on doing so."""
    monkeypatch.setattr(scheduling, "HURRY_SECONDS", 0.05)
    over = threading.Event()
    numbers: queue.SimpleQueue[int] = queue.SimpleQueue()

    def started(name: str) -> int:
        def run() -> None:
            Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text(name)
            numbers.put(threading.get_native_id())
            over.wait()

        threading.Thread(target=run).start()
        return numbers.get()

    async def work() -> None:
        stand_back()
        try:
            of_grpc, decoding = started("event_engine"), started("decode")
            assert stands_back(of_grpc)
            assert stands_back(decoding), "threads are born as their parents are"
            hurry = Hurry()
            hurry.refused()
            assert not stands_back(of_grpc)
            assert stands_back(decoding)
            later = started("event_engine")
            assert not stands_back(later)
            for _ in range(200):
                await asyncio.sleep(0.01)
                if stands_back():
                    break
            assert stands_back(of_grpc)
            assert stands_back(later)
        finally:
            over.set()

    in_a_thread(work)


def test_a_thread_that_has_ended_is_left_alone() -> None:
    ended = 1 << 22
    stand_back(ended)
    assert not stands_back(ended)


async def test_grpc_calls_its_threads_as_we_think() -> None:
    server = grpc.aio.server()
    server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        assert scheduling.grpc_threads()
    finally:
        await server.stop(None)
