"""The pool of decoding threads, with its limits."""

from __future__ import annotations

import asyncio
import math
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cvserve.errors import DeadlineExceeded, ImageError, Overloaded, Unavailable
from cvserve.serving.core.decode_pool import DecodePool
from cvserve.serving.core.loop_callbacks import LoopCallbacks


@contextmanager
def pool(workers: int = 1, max_waiting: int = 2, max_bytes: int = 1 << 20) -> Iterator[DecodePool]:
    made = DecodePool(workers, max_waiting, max_bytes, LoopCallbacks(asyncio.get_running_loop()))
    try:
        yield made
    finally:
        made.close(5)


class Image:
    """An object for a weak reference."""


async def test_work_is_done_on_other_threads_and_errors_come_back() -> None:
    def refuse() -> None:
        raise ImageError("image", "it is broken")

    with pool(workers=2) as decode:
        assert await decode.run(threading.get_ident) != threading.get_ident()
        with pytest.raises(ImageError, match="it is broken"):
            await decode.run(refuse)
        assert decode.pending == 0


async def test_too_many_waiting_are_refused_at_once() -> None:
    gate = threading.Event()
    with pool(workers=1, max_waiting=2) as decode:
        tasks = [asyncio.ensure_future(decode.run(gate.wait)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="3 images of 0 MiB wait to be decoded"):
            await decode.run(gate.wait)
        gate.set()
        await asyncio.gather(*tasks)
        assert await decode.run(lambda: 1) == 1


async def test_bytes_are_limited_too() -> None:
    gate = threading.Event()
    with pool(max_waiting=100, max_bytes=10) as decode:
        task = asyncio.ensure_future(decode.run(gate.wait, size=1000))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await decode.run(gate.wait, size=1)
        gate.set()
        await task
        assert await decode.run(lambda: 2, size=1000) == 2


async def test_a_job_cancelled_or_late_before_its_turn_never_runs_and_frees_its_image() -> None:
    gate, ran = threading.Event(), []
    loop = asyncio.get_running_loop()
    with pool(max_waiting=10) as decode:
        busy = asyncio.ensure_future(decode.run(gate.wait))
        await asyncio.sleep(0)
        image = Image()
        life = weakref.ref(image)
        cancelled = asyncio.ensure_future(decode.run(lambda kept=image: ran.append(kept)))
        late = asyncio.ensure_future(decode.run(lambda: ran.append("late"), deadline=loop.time() + 0.05))
        del image
        await asyncio.sleep(0.01)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        started = loop.time()
        with pytest.raises(DeadlineExceeded):
            await late
        assert loop.time() - started < 0.5
        del cancelled
        assert life() is None
        assert decode.pending == 1
        gate.set()
        await busy
        await decode.run(lambda: None)
        assert ran == []


async def test_a_job_that_runs_past_its_deadline_is_answered_on_time_and_still_counts_until_it_ends() -> None:
    gate = threading.Event()
    loop = asyncio.get_running_loop()
    with pool() as decode:
        started = loop.time()
        with pytest.raises(DeadlineExceeded):
            await decode.run(gate.wait, deadline=started + 0.05)
        assert loop.time() - started < 0.5
        assert decode.pending == 1
        gate.set()
        await decode.run(lambda: None)
        assert decode.pending == 0


async def test_a_deadline_in_the_past_and_a_closed_pool() -> None:
    with pool() as decode, pytest.raises(DeadlineExceeded):
        await decode.run(lambda: 1, deadline=-math.inf)
    with pytest.raises(Unavailable):
        await decode.run(lambda: 1)
