"""Sends many images, several at a time, and yields their answers in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from cvserve.client.messages import Image
from cvserve.errors import InvalidInput

Answer = TypeVar("Answer")


def in_turn(ask: Callable[[Image], Answer], images: Iterable[Image], concurrency: int) -> Iterator[Answer]:
    """Yields the answers in the order of the images; `concurrency` requests are open at the same time, on threads.

    Raises:
        InvalidInput: a concurrency under 1, at once. An error of `ask`, after the answers before it.
    """
    _check(concurrency)
    return _in_turn(ask, images, concurrency)


def _in_turn(ask: Callable[[Image], Answer], images: Iterable[Image], concurrency: int) -> Iterator[Answer]:
    waiting: list[Future[Answer]] = []
    pool = ThreadPoolExecutor(concurrency, thread_name_prefix="cvserve-client")
    try:
        for image in images:
            waiting.append(pool.submit(ask, image))
            if len(waiting) >= concurrency:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


async def in_turn_async(
    ask: Callable[[Image], Awaitable[Answer]], images: Iterable[Image], concurrency: int
) -> AsyncGenerator[Answer, None]:
    """Yields the answers as `in_turn` does, for asyncio."""
    _check(concurrency)
    waiting: list[asyncio.Future[Answer]] = []
    try:
        for image in images:
            waiting.append(asyncio.ensure_future(ask(image)))
            if len(waiting) >= concurrency:
                yield await waiting.pop(0)
        while waiting:
            yield await waiting.pop(0)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def _check(concurrency: int) -> None:
    if concurrency < 1:
        raise InvalidInput(f"concurrency must be at least 1, not {concurrency}")
