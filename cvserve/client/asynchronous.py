"""The client for asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc

from cvserve.client import messages
from cvserve.client.messages import Image, ModelInfo
from cvserve.errors import InvalidInput
from cvserve.postproc.results import ClassificationResult
from cvserve.protos import vision_pb2_grpc


class AsyncClient:
    """A connection to a server, used on one event loop.

    Example:
        async with AsyncClient("localhost:8500") as client:
            result = await client.classify("flowers", "photo.jpg")
    """

    def __init__(self, target: str, *, timeout: float | None = 30.0, connect_timeout: float = 5.0) -> None:
        """See `Client`. To be made where an event loop runs."""
        self.target = target
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._channel = grpc.aio.insecure_channel(target, options=messages.CHANNEL_OPTIONS)
        self._stub = vision_pb2_grpc.VisionServiceStub(self._channel)

    async def classify(
        self,
        model: str,
        image: Image,
        top_k: int | None = 5,
        version: int | None = None,
        timeout: float | None = None,
    ) -> ClassificationResult:
        """The best classes of one picture. See `Client.classify`."""
        # Reading a file, and PNG for an array, would hold up the loop.
        request = await asyncio.to_thread(messages.classify_request, model, image, top_k, version)
        return messages.classification(await self._call(self._stub.Classify, request, timeout))

    async def classify_many(
        self,
        model: str,
        images: Iterable[Image],
        top_k: int | None = 5,
        version: int | None = None,
        timeout: float | None = None,
        concurrency: int = 16,
    ) -> AsyncIterator[ClassificationResult]:
        """The classes of many pictures, in order. See `Client.classify_many`."""
        if concurrency < 1:
            raise InvalidInput(f"concurrency must be at least 1, not {concurrency}")
        waiting: list[asyncio.Task[ClassificationResult]] = []
        try:
            for image in images:
                waiting.append(asyncio.ensure_future(self.classify(model, image, top_k, version, timeout)))
                if len(waiting) >= concurrency:
                    yield await waiting.pop(0)
            while waiting:
                yield await waiting.pop(0)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def model_info(self, model: str, version: int | None = None, timeout: float | None = None) -> ModelInfo:
        """What the server says of a model. See `Client.classify` for the errors."""
        request = messages.info_request(model, version)
        return messages.model_info(await self._call(self._stub.GetModelInfo, request, timeout))

    async def close(self) -> None:
        """Ends the connection; calls under way are cancelled."""
        await self._channel.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _call(self, method: Any, request: Any, timeout: float | None) -> Any:
        timeout = self._timeout if timeout is None else timeout
        started = time.monotonic()
        try:
            try:
                return await method(request, timeout=timeout)
            except grpc.aio.AioRpcError as error:
                if not messages.never_arrived(error):
                    raise
            # Nothing was answered, and asking again changes nothing on the server: wait for it, and try once more.
            left = None if timeout is None else timeout - (time.monotonic() - started)
            await self._wait_for_server(self._connect_timeout if left is None else min(left, self._connect_timeout))
            left = None if timeout is None else max(0.0, timeout - (time.monotonic() - started))
            return await method(request, timeout=left)
        except grpc.aio.AioRpcError as error:
            messages.raise_for(error, self.target, timeout)

    async def _wait_for_server(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._channel.channel_ready(), max(0.0, seconds))
        except asyncio.TimeoutError as error:
            raise messages.no_server(self.target) from error
