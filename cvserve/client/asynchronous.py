"""The client for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Any

import grpc

from cvserve.client import failures, health, messages
from cvserve.client.channel import MAX_MESSAGE_BYTES, Tls, Token, as_tls, headers, open_channel
from cvserve.client.health import Health
from cvserve.client.many import in_turn_async
from cvserve.client.messages import Ask, FrameAnswer, Image, ModelInfo
from cvserve.client.streaming import AsyncSending
from cvserve.client.task_result import reader_of
from cvserve.client.tasks import captioning, classification, detection, segmentation
from cvserve.errors import CvserveError, DeadlineExceeded, InvalidInput, Unavailable
from cvserve.postproc.results import (
    CaptionResult,
    ClassificationResult,
    DetectionResult,
    EncodedSegmentation,
    SegmentationResult,
)
from cvserve.protos import vision_pb2_grpc


class AsyncClient:
    """Connects to a server, for use on one event loop.

    Example:
        async with AsyncClient("localhost:8500") as client:
            result = await client.classify("flowers", "photo.jpg")
    """

    def __init__(
        self,
        target: str,
        *,
        timeout: float | None = 30.0,
        connect_timeout: float = 5.0,
        token: Token | None = None,
        tls: Tls | bool | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        """See `Client`. Must be called while an event loop runs."""
        self.target = target
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._token = token
        tls = as_tls(tls)
        self._secure = tls is not None
        self._channel = open_channel(grpc.aio, target, tls, max_message_bytes)
        self._stub = vision_pb2_grpc.VisionServiceStub(self._channel)

    async def classify(
        self,
        model: str,
        image: Image,
        top_k: int | None = 5,
        version: int | None = None,
        timeout: float | None = None,
        *,
        label: str | None = None,
        score_threshold: float | None = None,
        max_results: int | None = None,
        request_id: str | None = None,
    ) -> ClassificationResult:
        """Returns the best classes of one image. See `Client.classify`."""
        ask = Ask(model, version, label, top_k, score_threshold, max_results)
        # Reading a file, or encoding an array as PNG, would block the loop.
        request = await asyncio.to_thread(ask.classify, image)
        return classification.classification(await self._call(self._stub.Classify, request, timeout, request_id))

    async def classify_many(
        self,
        model: str,
        images: Iterable[Image],
        top_k: int | None = 5,
        version: int | None = None,
        timeout: float | None = None,
        concurrency: int = 16,
        **options: Any,
    ) -> AsyncIterator[ClassificationResult]:
        """Yields the classes of many images, in order. See `Client.classify_many`."""
        answers = in_turn_async(
            lambda image: self.classify(model, image, top_k, version, timeout, **options), images, concurrency
        )
        async with contextlib.aclosing(answers):
            async for answer in answers:
                yield answer

    async def detect(
        self,
        model: str,
        image: Image,
        version: int | None = None,
        timeout: float | None = None,
        *,
        label: str | None = None,
        score_threshold: float | None = None,
        max_results: int | None = None,
        mask_format: str | None = None,
        request_id: str | None = None,
    ) -> DetectionResult:
        """Returns the objects in one image. See `Client.detect`."""
        ask = Ask(model, version, label, None, score_threshold, max_results, mask_format)
        request = await asyncio.to_thread(ask.detect, image)
        response = await self._call(self._stub.Detect, request, timeout, request_id)
        if mask_format in ("png", "polygons"):
            # Decoding masks would block the loop.
            return await asyncio.to_thread(detection.detection, response)
        return detection.detection(response)

    async def detect_many(
        self,
        model: str,
        images: Iterable[Image],
        version: int | None = None,
        timeout: float | None = None,
        concurrency: int = 16,
        **options: Any,
    ) -> AsyncIterator[DetectionResult]:
        """Yields the objects in many images, in order. See `Client.detect_many`."""
        answers = in_turn_async(
            lambda image: self.detect(model, image, version, timeout, **options), images, concurrency
        )
        async with contextlib.aclosing(answers):
            async for answer in answers:
                yield answer

    async def segment(
        self,
        model: str,
        image: Image,
        version: int | None = None,
        timeout: float | None = None,
        *,
        label: str | None = None,
        request_id: str | None = None,
    ) -> SegmentationResult | DetectionResult:
        """Returns the class of every pixel of one image. See `Client.segment`."""
        request = await asyncio.to_thread(Ask(model, version, label).segment, image)
        response = await self._call(self._stub.Segment, request, timeout, request_id)
        return await asyncio.to_thread(segmentation.segmented, response)

    async def segment_encoded(
        self,
        model: str,
        image: Image,
        mask_format: str = "png",
        version: int | None = None,
        timeout: float | None = None,
        *,
        label: str | None = None,
        request_id: str | None = None,
    ) -> EncodedSegmentation | DetectionResult:
        """Returns a segmentation as the server sends it. See `Client.segment_encoded`."""
        ask = Ask(model, version, label, mask_format=mask_format)
        request = await asyncio.to_thread(ask.segment, image)
        response = await self._call(self._stub.Segment, request, timeout, request_id)
        return await asyncio.to_thread(segmentation.segmentation, response)

    async def segment_many(
        self,
        model: str,
        images: Iterable[Image],
        version: int | None = None,
        timeout: float | None = None,
        concurrency: int = 16,
        **options: Any,
    ) -> AsyncIterator[SegmentationResult | DetectionResult]:
        """Yields the classes of the pixels of many images, in order. See `Client.segment_many`."""
        answers = in_turn_async(
            lambda image: self.segment(model, image, version, timeout, **options), images, concurrency
        )
        async with contextlib.aclosing(answers):
            async for answer in answers:
                yield answer

    async def caption(
        self,
        model: str,
        image: Image,
        version: int | None = None,
        timeout: float | None = None,
        *,
        label: str | None = None,
        max_results: int | None = None,
        request_id: str | None = None,
    ) -> CaptionResult:
        """Returns sentences about one image. See `Client.caption`."""
        ask = Ask(model, version, label, max_results=max_results)
        request = await asyncio.to_thread(messages.caption_request, ask, image)
        return captioning.captioning(await self._call(self._stub.Caption, request, timeout, request_id))

    async def caption_many(
        self,
        model: str,
        images: Iterable[Image],
        version: int | None = None,
        timeout: float | None = None,
        concurrency: int = 16,
        **options: Any,
    ) -> AsyncIterator[CaptionResult]:
        """Yields sentences about many images, in order. See `Client.caption_many`."""
        answers = in_turn_async(
            lambda image: self.caption(model, image, version, timeout, **options), images, concurrency
        )
        async with contextlib.aclosing(answers):
            async for answer in answers:
                yield answer

    async def stream(
        self,
        model: str,
        images: Iterable[Image] | AsyncIterable[Image],
        top_k: int | None = 5,
        version: int | None = None,
        timeout: float | None = None,
        *,
        label: str | None = None,
        score_threshold: float | None = None,
        max_results: int | None = None,
        mask_format: str | None = None,
        frame_timeout: float | None = None,
        ahead: int = 8,
        request_id: str | None = None,
    ) -> AsyncIterator[FrameAnswer]:
        """Sends images one after the other over one call, and yields their answers, in order. See `Client.stream`.

        Args:
            images: also an asynchronous iterable.
        """
        if ahead < 1:
            raise InvalidInput(f"ahead must be at least 1, not {ahead}")
        ask = Ask(model, version, label, top_k, score_threshold, max_results, mask_format)
        sending = AsyncSending(images, lambda number, image: ask.frame(number, image, frame_timeout), ahead)
        started = time.monotonic()
        await self._reach(timeout)
        remaining = None if timeout is None else max(0.0, timeout - (time.monotonic() - started))
        call = self._stub.Stream(aiter(sending), timeout=remaining, metadata=headers(self._token, request_id))
        try:
            async for response in call:
                sending.answered()
                reader = reader_of(response.WhichOneof("answer"))
                if reader is not None and reader.slow:
                    yield await asyncio.to_thread(messages.frame_answer, response, self.target)
                else:
                    yield messages.frame_answer(response, self.target)
        except grpc.aio.AioRpcError as error:
            failures.raise_for(error, self.target, timeout, self._secure)
        finally:
            call.cancel()
        if sending.failure is not None:
            raise sending.failure

    async def model_info(
        self, model: str, version: int | None = None, timeout: float | None = None, *, label: str | None = None
    ) -> ModelInfo:
        """Returns what the server reports about a model. See `Client.classify` for the errors."""
        request = messages.info_request(model, version, label)
        return messages.model_info(await self._call(self._stub.GetModelInfo, request, timeout))

    async def health(self, service: str = "", timeout: float | None = None) -> Health:
        """Returns whether the server, a service or a model is ready. See `Client.health`."""
        status: Health = await self._call(health.check(self._channel), service, timeout)
        return status

    async def watch_health(self, service: str = "", timeout: float | None = None) -> AsyncIterator[Health]:
        """Yields the health now and after every change. See `Client.watch_health`."""
        call = health.watch(self._channel)(service, timeout=timeout, metadata=headers(self._token, None))
        try:
            async for state in call:
                yield state
        except grpc.aio.AioRpcError as error:
            failures.raise_for(error, self.target, timeout, self._secure)
        finally:
            call.cancel()

    async def close(self) -> None:
        """Closes the connection and cancels the calls that are not answered yet."""
        await self._channel.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _call(self, method: Any, request: Any, timeout: float | None, request_id: str | None = None) -> Any:
        timeout = self._timeout if timeout is None else timeout
        metadata = headers(self._token, request_id)
        started = time.monotonic()
        try:
            try:
                return await method(request, timeout=timeout, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                if not failures.never_arrived(error):
                    raise
                why = error.details() or ""
            # The server did not get the call, so it is safe to wait for the server and call once more.
            remaining = None if timeout is None else timeout - (time.monotonic() - started)
            seconds = self._connect_timeout if remaining is None else min(remaining, self._connect_timeout)
            await self._wait_for_server(seconds, why)
            remaining = None if timeout is None else max(0.0, timeout - (time.monotonic() - started))
            return await method(request, timeout=remaining, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            failures.raise_for(error, self.target, timeout, self._secure)

    async def _reach(self, timeout: float | None) -> None:
        seconds = self._connect_timeout if timeout is None else min(timeout, self._connect_timeout)
        try:
            await self.health(timeout=seconds)
        except Unavailable:
            raise
        except DeadlineExceeded as error:
            raise failures.no_server(self.target, self._secure) from error
        except CvserveError:
            pass  # the server answers, but has no health service

    async def _wait_for_server(self, seconds: float, why: str = "") -> None:
        try:
            await asyncio.wait_for(self._channel.channel_ready(), max(0.0, seconds))
        except asyncio.TimeoutError as error:
            raise failures.no_server(self.target, self._secure, why) from error
