"""Which threads take cores at once."""

from __future__ import annotations

import asyncio
import ctypes
import os
import queue
import sys
import threading
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from serving_kit import PuppetRuntime, jpeg, loader, repository

from cvserve.client import AsyncClient
from cvserve.serving import Server, ServerSettings
from cvserve.serving.core import scheduling
from cvserve.serving.core.loaded_model import LoadedModel
from cvserve.serving.core.scheduling import (
    GRAPH_NICE,
    ShortSlices,
    has_batch_policy,
    lower_priority,
    use_batch_policy,
    use_short_slices,
)
from cvserve.serving.core.settings import ModelSettings

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


def test_a_loop_that_refuses_has_short_slices_until_it_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scheduling, "AFTER_REFUSAL_SECONDS", 0.05)

    async def work() -> None:
        use_batch_policy()
        slices = ShortSlices()
        slices.refused()
        assert not has_batch_policy()
        await asyncio.sleep(0.03)
        slices.refused()
        await asyncio.sleep(0.035)
        assert not has_batch_policy(), "the last refusal counts"
        for _ in range(100):
            await asyncio.sleep(0.01)
            if has_batch_policy():
                break
        assert has_batch_policy()
        slices.refused()
        assert not has_batch_policy(), "and once more"

    in_a_thread(work)


def test_a_loop_that_never_stood_back_is_left_alone() -> None:
    async def work() -> None:
        ShortSlices().refused()
        await asyncio.sleep(0)
        assert not has_batch_policy()
        assert len(asyncio.all_tasks()) == 1

    in_a_thread(work)


def test_grpcs_threads_have_short_slices_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """By their name, those that are started meanwhile too. Other threads keep their policy."""
    monkeypatch.setattr(scheduling, "AFTER_REFUSAL_SECONDS", 0.05)
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
        use_batch_policy()
        try:
            of_grpc, decoding = started("event_engine"), started("decode")
            assert has_batch_policy(of_grpc)
            assert has_batch_policy(decoding), "threads are born as their parents are"
            slices = ShortSlices()
            slices.refused()
            assert not has_batch_policy(of_grpc)
            assert has_batch_policy(decoding)
            later = started("event_engine")
            assert not has_batch_policy(later)
            for _ in range(200):
                await asyncio.sleep(0.01)
                if has_batch_policy():
                    break
            assert has_batch_policy(of_grpc)
            assert has_batch_policy(later)
        finally:
            over.set()

    in_a_thread(work)


def test_a_thread_that_has_ended_is_left_alone() -> None:
    ended = 1 << 22
    use_batch_policy(ended)
    assert not has_batch_policy(ended)


@pytest.mark.parametrize(("settings", "nicer"), [({}, GRAPH_NICE), ({"graph_nice": 0}, 0)])
async def test_graphs_are_loaded_and_run_by_threads_that_give_way(
    tmp_path: Path, settings: dict[str, Any], nicer: int
) -> None:
    pytest.importorskip("tensorflow_serving")
    seen: list[tuple[str, int]] = []

    class Graph(PuppetRuntime):
        def run(self, inputs: Any, outputs: Any = None) -> dict[str, np.ndarray]:
            seen.append(("run", nice_of(0)))
            return super().run(inputs, outputs)

    opened = loader(Graph())

    def load(directory: Path, settings: ModelSettings) -> LoadedModel:
        seen.append(("load", nice_of(0)))
        return opened(directory, settings)

    values = ServerSettings(host="127.0.0.1", port=0, **settings)
    async with Server(repository(tmp_path), values, load_model=load) as server, AsyncClient(server.address) as client:
        await client.classify("colours", jpeg())
    expected = min(nice_of(os.getpid()) + nicer, 19)
    assert seen == [("load", expected), ("run", expected)]
    assert await asyncio.to_thread(nice_of, 0) == nice_of(os.getpid()), "threads for other work are as they were"


async def test_grpc_calls_its_threads_as_we_think() -> None:
    server = grpc.aio.server()
    server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        assert scheduling.grpc_threads()
    finally:
        await server.stop(None)


def test_a_thread_that_gives_way_is_nicer_than_the_process_and_takes_cores_as_usual() -> None:
    async def work() -> None:
        before = nice_of(os.getpid())
        use_batch_policy()
        lower_priority()
        assert not has_batch_policy()
        assert nice_of(0) == min(before + GRAPH_NICE, 19)
        lower_priority()
        assert nice_of(0) == min(before + GRAPH_NICE, 19), "not nicer each time"
        lower_priority(0)
        assert nice_of(0) == min(before + GRAPH_NICE, 19), "nobody may without a privilege"
        assert nice_of(os.getpid()) == before, "of the threads only this one"
        born: list[int] = []
        child = threading.Thread(target=lambda: born.append(nice_of(0)))
        child.start()
        child.join()
        assert born == [nice_of(0)]

    in_a_thread(work)


def test_the_nice_value_of_a_thread_does_not_change_with_its_policy() -> None:
    async def work() -> None:
        os.setpriority(os.PRIO_PROCESS, 0, min(nice_of(0) + 3, 19))
        before = nice_of(0)
        for change in (use_batch_policy, use_short_slices, use_batch_policy):
            change()
            assert nice_of(0) == before
            assert has_batch_policy() == (change is use_batch_policy)

    in_a_thread(work)


def test_a_thread_has_short_slices_until_it_gets_the_batch_policy() -> None:
    """As Linux tells it from 6.12 on; older ones know no slices of their own."""

    async def work() -> None:
        thread = threading.get_native_id()
        usual = slice_of(thread)
        if usual is None:
            pytest.skip("this system does not tell of slices")
        use_short_slices()
        assert slice_of(thread) == pytest.approx(scheduling.SLICE_SECONDS)
        use_batch_policy()
        assert slice_of(thread) == usual

    in_a_thread(work)


@pytest.mark.parametrize("unknown", [None, 100_000])
def test_a_system_without_slices_does_without(monkeypatch: pytest.MonkeyPatch, unknown: int | None) -> None:
    monkeypatch.setattr(scheduling, "_SCHED_SETATTR", unknown)

    async def work() -> None:
        use_batch_policy()
        assert has_batch_policy()
        use_short_slices()
        assert not has_batch_policy()

    in_a_thread(work)


def nice_of(thread: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, thread)


def slice_of(thread: int) -> float | None:
    """Seconds; None where the system does not tell."""
    number = scheduling._SCHED_SETATTR
    if number is None:
        return None
    attributes = ctypes.create_string_buffer(scheduling._SCHED_ATTR.size)
    # sched_getattr stands behind sched_setattr in every table of calls.
    if ctypes.CDLL(None).syscall(number + 1, thread, attributes, len(attributes), 0):
        return None
    runtime = scheduling._SCHED_ATTR.unpack(attributes.raw)[5]
    return runtime / 1e9 or None
