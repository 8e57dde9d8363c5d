"""Sends the frames of a stream, a few of them before the earlier ones are answered."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any

from cvserve.client.messages import Image

_END = object()


class Sending:
    """Yields the frames of the blocking client to gRPC, which iterates over it on its own thread.

    An image is taken from the source only when there is room for it, so that the newest image of a camera is sent. An
    error of the source ends the sending, and is kept in `failure`.
    """

    def __init__(self, images: Iterable[Image], make: Callable[[int, Image], Any], ahead: int) -> None:
        """
        Args:
            make: makes the message from the number and the image of a frame.
            ahead: the number of frames that may be sent and not answered yet.
        """
        self._images = iter(images)
        self._make = make
        self._room = threading.Semaphore(ahead)
        self._ended = False
        self.failure: Exception | None = None

    def __iter__(self) -> Iterator[Any]:
        number = 0
        while True:
            self._room.acquire()
            if self._ended:
                return
            try:
                image = next(self._images, _END)
                if image is _END:
                    return
                message = self._make(number, image)  # type: ignore[arg-type]
            except Exception as error:  # noqa: BLE001 - raised where the answers are read
                self.failure = error
                return
            yield message
            number += 1

    def answered(self) -> None:
        """Notes that one frame has its answer."""
        self._room.release()

    def end(self) -> None:
        """Stops sending."""
        self._ended = True
        self._room.release()


class AsyncSending:
    """Yields the frames as `Sending` does, for asyncio; the source may be asynchronous."""

    def __init__(
        self, images: Iterable[Image] | AsyncIterable[Image], make: Callable[[int, Image], Any], ahead: int
    ) -> None:
        """See `Sending`."""
        self._images = images
        self._make = make
        self._room = asyncio.Semaphore(ahead)
        self.failure: Exception | None = None

    async def __aiter__(self) -> AsyncIterator[Any]:
        number = 0
        try:
            source = aiter(self._images) if isinstance(self._images, AsyncIterable) else _turned(self._images)
            while True:
                await self._room.acquire()
                image = await anext(source, _END)
                if image is _END:
                    return
                # Reading a file, or encoding an array as PNG, would block the loop.
                message = await asyncio.to_thread(self._make, number, image)  # type: ignore[arg-type]
                yield message
                number += 1
        except Exception as error:  # noqa: BLE001 - raised where the answers are read
            self.failure = error

    def answered(self) -> None:
        """Notes that one frame has its answer."""
        self._room.release()


async def _turned(images: Iterable[Image]) -> AsyncIterator[Image]:
    for image in images:
        yield image
