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
    """A connection to a server. Thread-safe.

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
            timeout: seconds for one call, unless the call says otherwise; None waits for ever.
            connect_timeout: seconds of these to wait for a server that is not there yet, or not any more.
            token: the bearer token, or a function that is asked for it at each call. Without TLS it can be read by
                whoever carries the bytes.
            tls: whom to trust, and who this is; True trusts the usual authorities.
            max_message_bytes: the largest message taken or sent.

        Raises:
            NotFound, InvalidInput: a certificate that is not there or cannot be used.
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
            top_k: how many classes; None takes the model's default.
            version: None takes the newest.
            timeout: seconds; None takes the client's.
            label: the label of a version, instead of its number.
            score_threshold: only classes with at least this score, 0 to 1; there may be none.
            max_results: at most so many classes.
            request_id: what the server's log calls the request; by default the server makes one.

        Raises:
            ImageError, InvalidInput: the image or a value cannot be used.
            NotFound: no such model, version or file.
            Unavailable: no server answers, or it is starting or stopping.
            Unauthenticated, PermissionDenied: the server wants a token, or another one.
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
        """Yields the classes of many images, in order, with `concurrency` of them under way at a time.

        Only about as many are read ahead, so `images` may be endless. See `classify` for the rest; the first failure
        is raised when its turn comes, and ends the iteration.
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
            score_threshold: the least score of an object, 0 to 1, also below the model's own; None takes that one.
            max_results: at most so many objects; None takes the model's own number.
            mask_format: of a model with masks, how they are sent: "rle" (also for None), "png", "polygons", or "none"
                for boxes alone. The result's masks are the same whichever it is.
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

        Only the classes that there are have names in the result; `model_info` has the names and colours of all. Needs
        OpenCV. Of a model of objects with masks it is what `detect` gives. See `classify` for the arguments and errors.
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

        Of a model of objects with masks it is what `detect` gives.

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
            max_results: at most so many sentences; how many there are, the model decides.
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

        What kind of results they are, the model's task decides. A frame that fails has its error in its answer, and the
        stream goes on. See `classify` and `detect` for the rest.

        Args:
            mask_format: how a segmentation is sent, see `segment_encoded`; it is given as SegmentationResult all the
                same, but with "none" as EncodedSegmentation.
            images: may be endless; an image is taken from it when there is room for it, on another thread. What it
                raises is raised here after the answers to the frames before it.
            timeout: seconds for the whole stream; None: no limit.
            frame_timeout: seconds after which the answer to a frame is of no more use.
            ahead: frames that may be sent and not answered: more keeps the server busier, fewer is more up to date.

        Raises:
            Unavailable: no server answers, or it is shutting down: then the frames that it had read are answered.
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
        left = None if timeout is None else max(0.0, timeout - (time.monotonic() - started))
        call = self._stub.Stream(iter(sending), timeout=left, metadata=headers(self._token, request_id))
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
            service: "" for the server, or such as "cvserve.v1.VisionService", "flowers" or "flowers/3".

        Raises:
            NotFound: there is no such service or model. Unavailable: no server answers.
        """
        found: Health = self._call(health.check(self._channel), service, timeout)
        return found

    def watch_health(self, service: str = "", timeout: float | None = None) -> Iterator[Health]:
        """Yields the health now and after every change, until the server ends; see `health`.

        A name that the server does not have is SERVICE_UNKNOWN until it has it.

        Args:
            timeout: seconds for all of it; None: no limit.

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
        """Ends the connection; calls under way are cancelled."""
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
            # Nothing was answered, and asking again changes nothing on the server: wait for it, and try once more.
            left = None if timeout is None else timeout - (time.monotonic() - started)
            self._wait_for_server(self._connect_timeout if left is None else min(left, self._connect_timeout), why)
            left = None if timeout is None else max(0.0, timeout - (time.monotonic() - started))
            return method(request, timeout=left, metadata=metadata)
        except grpc.RpcError as error:
            failures.raise_for(error, self.target, timeout, self._secure)

    def _reach(self, timeout: float | None) -> None:
        """Returns when the server answers, before the first frame is taken: a stream cannot be begun twice."""
        seconds = self._connect_timeout if timeout is None else min(timeout, self._connect_timeout)
        try:
            self.health(timeout=seconds)
        except Unavailable:
            raise
        except DeadlineExceeded as error:
            raise failures.no_server(self.target, self._secure) from error
        except CvserveError:
            pass  # it answers, and has no health to tell of

    def _wait_for_server(self, seconds: float, why: str = "") -> None:
        ready = grpc.channel_ready_future(self._channel)
        try:
            ready.result(timeout=max(0.0, seconds))
        except grpc.FutureTimeoutError as error:
            raise failures.no_server(self.target, self._secure, why) from error
        finally:
            ready.cancel()
