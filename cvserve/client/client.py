"""The blocking client."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

import grpc

from cvserve.client import failures, health, messages
from cvserve.client.channel import MAX_MESSAGE_BYTES, Tls, Token, as_tls, headers, open_channel
from cvserve.client.health import Health
from cvserve.client.many import in_turn
from cvserve.client.messages import Ask, FrameAnswer, Image, ModelInfo
from cvserve.client.streaming import Sending
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


class Client:
    """Connects to a server. Thread-safe.

    Example:
        with Client("localhost:8500") as client:
            print(client.classify("flowers", "photo.jpg").best.label)
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
        """
        Args:
            target: `host:port`, or `unix:PATH`.
            timeout: seconds for one call, unless the call gives its own; None waits for ever.
            connect_timeout: seconds of these to wait for a server that does not answer, or not any more.
            token: the bearer token, or a function that returns it for each call. Without TLS it can be read on the
                network.
            tls: the trusted authorities and the client's own certificate; True trusts the usual authorities.
            max_message_bytes: the size of the largest message that is received or sent.

        Raises:
            NotFound, InvalidInput: a certificate does not exist or cannot be used.
        """
        self.target = target
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._token = token
        tls = as_tls(tls)
        self._secure = tls is not None
        self._channel = open_channel(grpc, target, tls, max_message_bytes)
        self._stub = vision_pb2_grpc.VisionServiceStub(self._channel)

    def classify(
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
        """Returns the best classes of one image.

        Args:
            model: its name on the server.
            image: a path, encoded bytes (sent as they are), or a uint8 array [H, W], [H, W, 3] (RGB) or [H, W, 4].
            top_k: the number of classes; None takes the model's default.
            version: None takes the newest.
            timeout: seconds; None takes the client's.
            label: the label of a version, instead of its number.
            score_threshold: only classes with at least this score, 0 to 1; there may be none.
            max_results: the largest number of classes.
            request_id: the id of the request in the server's log; by default the server makes one.

        Raises:
            ImageError, InvalidInput: the image or a value cannot be used.
            NotFound: no such model, version or file.
            Unavailable: no server answers, or it is starting or stopping.
            Unauthenticated, PermissionDenied: the server requires a token, or another one.
            Overloaded, OutOfMemory, DeadlineExceeded, FailedPrecondition
        """
        ask = Ask(model, version, label, top_k, score_threshold, max_results)
        return classification.classification(self._call(self._stub.Classify, ask.classify(image), timeout, request_id))

    def classify_many(
        self,
        model: str,
        images: Iterable[Image],
        top_k: int | None = 5,
        version: int | None = None,
        timeout: float | None = None,
        concurrency: int = 16,
        **options: Any,
    ) -> Iterator[ClassificationResult]:
        """Yields the classes of many images, in order, with `concurrency` requests open at the same time.

        Only about as many images are read ahead, so `images` may be endless. See `classify` for the rest; the first
        failure is raised when its turn comes, and ends the iteration.
        """
        return in_turn(
            lambda image: self.classify(model, image, top_k, version, timeout, **options), images, concurrency
        )

    def detect(
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
        """Returns the objects in one image, best first; boxes are in pixels of the image after its EXIF orientation.

        Args:
            score_threshold: the least score of an object, 0 to 1; it may be below the model's own, which None takes.
            max_results: the largest number of objects; None takes the model's own.
            mask_format: how a model with masks sends them: "rle" (also for None), "png", "polygons", or "none" for
                boxes alone. The masks of the result are the same in each case.
            Others: see `classify`, for the errors too.
        """
        ask = Ask(model, version, label, None, score_threshold, max_results, mask_format)
        return detection.detection(self._call(self._stub.Detect, ask.detect(image), timeout, request_id))

    def detect_many(
        self,
        model: str,
        images: Iterable[Image],
        version: int | None = None,
        timeout: float | None = None,
        concurrency: int = 16,
        **options: Any,
    ) -> Iterator[DetectionResult]:
        """Yields the objects in many images, in order. See `detect` and `classify_many`."""
        return in_turn(lambda image: self.detect(model, image, version, timeout, **options), images, concurrency)

    def segment(
        self,
        model: str,
        image: Image,
        version: int | None = None,
        timeout: float | None = None,
        *,
        label: str | None = None,
        request_id: str | None = None,
    ) -> SegmentationResult | DetectionResult:
        """Returns the class of every pixel of one image, in the size that it has after its EXIF orientation.

        Only classes in the image have names in the result; `model_info` has the names and colours of all. Needs OpenCV.
        For a model of objects with masks the result is that of `detect`. See `classify` for the arguments and errors.
        """
        request = Ask(model, version, label).segment(image)
        return segmentation.segmented(self._call(self._stub.Segment, request, timeout, request_id))

    def segment_encoded(
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
        """Returns a segmentation as the server sends it: coverage and confidence of each class, and encoded masks.

        For a model of objects with masks the result is that of `detect`.

        Args:
            mask_format: "png" (the class map), "rle" or "polygons" (a mask for each class), or "none": no masks.
            Others: see `classify`, for the errors too.
        """
        ask = Ask(model, version, label, mask_format=mask_format)
        return segmentation.segmentation(self._call(self._stub.Segment, ask.segment(image), timeout, request_id))

    def segment_many(
        self,
        model: str,
        images: Iterable[Image],
        version: int | None = None,
        timeout: float | None = None,
        concurrency: int = 16,
        **options: Any,
    ) -> Iterator[SegmentationResult | DetectionResult]:
        """Yields the classes of the pixels of many images, in order. See `segment` and `classify_many`."""
        return in_turn(lambda image: self.segment(model, image, version, timeout, **options), images, concurrency)

    def caption(
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
        """Returns sentences about one image, best first; `best.text` is the best.

        Args:
            max_results: the largest number of sentences; the model may give fewer.
            Others: see `classify`, for the errors too.
        """
        request = messages.caption_request(Ask(model, version, label, max_results=max_results), image)
        return captioning.captioning(self._call(self._stub.Caption, request, timeout, request_id))

    def caption_many(
        self,
        model: str,
        images: Iterable[Image],
        version: int | None = None,
        timeout: float | None = None,
        concurrency: int = 16,
        **options: Any,
    ) -> Iterator[CaptionResult]:
        """Yields sentences about many images, in order. See `caption` and `classify_many`."""
        return in_turn(lambda image: self.caption(model, image, version, timeout, **options), images, concurrency)

    def stream(
        self,
        model: str,
        images: Iterable[Image],
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
    ) -> Iterator[FrameAnswer]:
        """Sends images over one call, such as the frames of a video, and yields their answers in order.

        The task of the model decides the type of the results. The answer to a frame that fails holds the error, and the
        stream goes on. See `classify` and `detect` for the rest.

        Args:
            mask_format: how a segmentation is sent, see `segment_encoded`; the result is a SegmentationResult, but with
                "none" an EncodedSegmentation.
            images: may be endless. The next image is taken when there is room for it, on another thread. An error of
                the iterable is raised here after the answers to the earlier frames.
            timeout: seconds for the whole stream; None: no limit.
            frame_timeout: seconds after which the answer to a frame is not wanted any more.
            ahead: frames that are sent before the answer to an earlier one has come: more keep the server busier, with
                fewer the answers are more up to date.

        Raises:
            Unavailable: no server answers, or it is shutting down, after it has answered the frames that it had read.
            InvalidInput, Unauthenticated, DeadlineExceeded
        """
        if ahead < 1:
            raise InvalidInput(f"ahead must be at least 1, not {ahead}")
        ask = Ask(model, version, label, top_k, score_threshold, max_results, mask_format)
        sending = Sending(images, lambda number, image: ask.frame(number, image, frame_timeout), ahead)
        return self._stream(sending, timeout, request_id)

    def _stream(self, sending: Sending, timeout: float | None, request_id: str | None) -> Iterator[FrameAnswer]:
        started = time.monotonic()
        self._reach(timeout)
        remaining = None if timeout is None else max(0.0, timeout - (time.monotonic() - started))
        call = self._stub.Stream(iter(sending), timeout=remaining, metadata=headers(self._token, request_id))
        try:
            for response in call:
                sending.answered()
                yield messages.frame_answer(response, self.target)
        except grpc.RpcError as error:
            failures.raise_for(error, self.target, timeout, self._secure)
        finally:
            sending.end()
            call.cancel()
        if sending.failure is not None:
            raise sending.failure

    def model_info(
        self, model: str, version: int | None = None, timeout: float | None = None, *, label: str | None = None
    ) -> ModelInfo:
        """Returns what the server reports about a model. See `classify` for the errors."""
        request = messages.info_request(model, version, label)
        return messages.model_info(self._call(self._stub.GetModelInfo, request, timeout))

    def health(self, service: str = "", timeout: float | None = None) -> Health:
        """Returns the health of the server or of a service, a model or a version.

        Args:
            service: "" for the server, or a name such as "cvserve.v1.VisionService", "flowers" or "flowers/3".

        Raises:
            NotFound: there is no such service or model. Unavailable: no server answers.
        """
        status: Health = self._call(health.check(self._channel), service, timeout)
        return status

    def watch_health(self, service: str = "", timeout: float | None = None) -> Iterator[Health]:
        """Yields the health now and after every change, until the server ends; see `health`.

        A name that the server does not have is SERVICE_UNKNOWN until it has it.

        Args:
            timeout: seconds until the watching ends; None: no limit.

        Raises:
            Unavailable: the server has ended, or there is none. DeadlineExceeded
        """
        call = health.watch(self._channel)(service, timeout=timeout, metadata=headers(self._token, None))
        try:
            yield from call
        except grpc.RpcError as error:
            failures.raise_for(error, self.target, timeout, self._secure)
        finally:
            call.cancel()

    def close(self) -> None:
        """Closes the connection and cancels the calls that are not answered yet."""
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, method: Any, request: Any, timeout: float | None, request_id: str | None = None) -> Any:
        timeout = self._timeout if timeout is None else timeout
        metadata = headers(self._token, request_id)
        started = time.monotonic()
        try:
            try:
                return method(request, timeout=timeout, metadata=metadata)
            except grpc.RpcError as error:
                if not failures.never_arrived(error):
                    raise
                why = error.details() or ""
            # The server did not get the call, so it is safe to wait for the server and call once more.
            remaining = None if timeout is None else timeout - (time.monotonic() - started)
            self._wait_for_server(
                self._connect_timeout if remaining is None else min(remaining, self._connect_timeout), why
            )
            remaining = None if timeout is None else max(0.0, timeout - (time.monotonic() - started))
            return method(request, timeout=remaining, metadata=metadata)
        except grpc.RpcError as error:
            failures.raise_for(error, self.target, timeout, self._secure)

    def _reach(self, timeout: float | None) -> None:
        """Waits until the server answers, before the first frame is taken, since a stream cannot be started again."""
        seconds = self._connect_timeout if timeout is None else min(timeout, self._connect_timeout)
        try:
            self.health(timeout=seconds)
        except Unavailable:
            raise
        except DeadlineExceeded as error:
            raise failures.no_server(self.target, self._secure) from error
        except CvserveError:
            pass  # the server answers, but has no health service

    def _wait_for_server(self, seconds: float, why: str = "") -> None:
        ready = grpc.channel_ready_future(self._channel)
        try:
            ready.result(timeout=max(0.0, seconds))
        except grpc.FutureTimeoutError as error:
            raise failures.no_server(self.target, self._secure, why) from error
        finally:
            ready.cancel()
