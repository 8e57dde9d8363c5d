"""Answers the frames of one VisionService/Stream in order, and reads ahead up to a window."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from cvserve.errors import InvalidInput, Unavailable
from cvserve.serving.transport.grpc.calls import Requests


class Frames:
    """Answers the frames of one open stream.

    At most `window` frames have been read and are not answered yet. Then reading stops, and HTTP/2 makes the client
    wait, whether the model is slow or the client does not read its answers. Used from the loop's
    thread only.
    """

    def __init__(self, answer: Callable[[Any], Awaitable[Any]], window: int) -> None:
        """
        Args:
            answer: makes the response to a frame, or to the error (InvalidInput) of a frame that could not be read. An
                error of it ends the stream.
            window: the largest number of frames that are worked on.
        """
        self._answer = answer
        self._room = asyncio.Semaphore(window - 1)
        self._read: asyncio.Queue[asyncio.Future[Any] | None] = asyncio.Queue()
        self._ended = False
        self._stopped = False

    def stop(self) -> None:
        """Ends the stream after the frames that have been read: the server is shutting down."""
        self._stopped = True
        self._end()

    async def run(self, requests: Requests[Any], context: grpc.aio.ServicerContext) -> None:
        """Answers frames until the client has no more.

        Raises:
            Unavailable: `stop` ended it. CancelledError: the client has gone; frames that wait never run. What `answer`
            raises.
        """
        reader = asyncio.ensure_future(self._read_all(requests))
        # When the call ends before the client's last frame, the reading task is not cancelled: gRPC ends the read
        # itself, and cancelling a read is not safe.
        reader.add_done_callback(_look_at)
        try:
            while (answer := await self._read.get()) is not None:
                await context.write(await answer)
                self._room.release()
        finally:
            self._end()
            while not self._read.empty():
                rest = self._read.get_nowait()
                if rest is not None:
                    rest.add_done_callback(_look_at)
                    rest.cancel()
        if self._stopped:
            raise Unavailable("the server is shutting down")

    async def _read_all(self, requests: Requests[Any]) -> None:
        try:
            while not self._ended:
                frame: Any
                try:
                    frame = await requests.read()
                except InvalidInput as error:
                    frame = error
                if frame is None or self._ended:
                    break
                self._read.put_nowait(asyncio.ensure_future(self._answer(frame)))
                await self._room.acquire()
        finally:
            self._end()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._read.put_nowait(None)
            # Otherwise a reader that waits for room in the queue would wait for ever.
            self._room.release()


def _look_at(task: asyncio.Future[Any]) -> None:
    """Reads the exception of a task whose call has ended, so that it is not logged."""
    if not task.cancelled():
        task.exception()
