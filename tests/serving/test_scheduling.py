"""Which threads take cores at once."""

from __future__ import annotations

import _thread
import asyncio
import queue
import sys
import threading

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


def test_threads_beside_pythons_hurry_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """gRPC's; here one that `threading` knows nothing of. Those that decode go on standing back."""
    monkeypatch.setattr(scheduling, "HURRY_SECONDS", 0.05)
    over = threading.Event()
    numbers: queue.SimpleQueue[int] = queue.SimpleQueue()

    def run() -> None:
        numbers.put(threading.get_native_id())
        over.wait()

    async def work() -> None:
        stand_back()
        _thread.start_new_thread(run, ())
        foreign = numbers.get()
        decoding = threading.Thread(target=run)
        decoding.start()
        own = numbers.get()
        try:
            assert stands_back(foreign)
            assert stands_back(own), "threads are born as their parents are"
            hurry = Hurry()
            hurry.refused()
            assert not stands_back(foreign)
            assert stands_back(own)
            for _ in range(200):
                await asyncio.sleep(0.01)
                if stands_back(foreign):
                    break
            assert stands_back(foreign)
            hurry.refused()
        finally:
            over.set()
            decoding.join()
        while not stands_back():
            await asyncio.sleep(0.01)  # that the thread has ended meanwhile is no matter

    in_a_thread(work)
    assert not stands_back(1 << 22)
