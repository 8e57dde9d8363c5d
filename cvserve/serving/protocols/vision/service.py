"""The service cvserve.v1.VisionService."""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import time
from typing import Any

import grpc

from cvserve.errors import CvserveError, InvalidInput, Unauthenticated, Unavailable
from cvserve.postproc import DEFAULT_OPTIONS, Options
from cvserve.protos import vision_pb2
from cvserve.serving.core.engine import Engine
from cvserve.serving.errors import status_of
from cvserve.serving.protocols.vision.answers import check_method, encode_frame, encode_result
from cvserve.serving.protocols.vision.frames import Frames
from cvserve.serving.protocols.vision.messages import frame_error, model_info, model_ref, model_spec, options_of
from cvserve.serving.transport.grpc.calls import Requests, deadline_of
from cvserve.serving.transport.interceptor import RequestContext

_LOG = logging.getLogger(__name__)


class VisionService:
    """Answers encoded images with typed results."""

    def __init__(self, engine: Engine, stream_window: int, max_message_bytes: int) -> None:
        """
        Args:
            stream_window: the number of frames of one stream that are worked on at the same time.
            max_message_bytes: the size of the largest answer.
        """
        self._engine = engine
        self._window = stream_window
        self._largest = max_message_bytes
        self._streams: set[Frames] = set()
        self._draining = False

    def draining(self) -> None:
        """Ends streams after the frames that they have read, and refuses new ones."""
        self._draining = True
        for frames in self._streams:
            frames.stop()

    async def Classify(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """Answers with the best classes of one image."""
        return await self._answer(request, context, "Classify", _options(request, request.top_k))

    async def Detect(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """Answers with the objects in one image."""
        return await self._answer(request, context, "Detect", _options(request, 0))

    async def Segment(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """Answers with the class of every pixel."""
        return await self._answer(request, context, "Segment", _options(request, 0))

    async def Caption(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """Answers with sentences about one image."""
        return await self._answer(request, context, "Caption", _options(request, 0))

    async def Stream(self, requests: Requests[Any], context: grpc.aio.ServicerContext) -> None:
        """Answers frames one after the other, see `Frames`. The error of a frame is its answer."""
        if self._draining:
            raise Unavailable("the server is shutting down")
        answers = _FrameAnswers(self._engine, requests.context, deadline_of(context), self._largest)
        frames = Frames(answers.to, self._window)
        self._streams.add(frames)
        try:
            await frames.run(requests, context)
        finally:
            self._streams.discard(frames)

    async def GetModelInfo(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """Answers with the description of a model."""
        info = self._engine.model_info(model_ref(request.model))
        labels_of = self._engine.reconciler.labels_of
        return model_info(
            info, {label: version for version in info.versions for label in labels_of(info.model.name, version)}
        )

    async def _answer(self, request: Any, context: grpc.aio.ServicerContext, method: str, options: Options) -> Any:
        answer = await self._engine.answer(
            model_ref(request.model),
            request.image,
            options,
            check=functools.partial(check_method, method=method, name=request.model.name),
            deadline=deadline_of(context),
            encode=functools.partial(encode_result, method=method, options=options, largest=self._largest),
        )
        response = answer.result
        response.model.CopyFrom(model_spec(answer.model))
        return response


class _FrameAnswers:
    """Makes the answers to the frames of one stream."""

    def __init__(self, engine: Engine, stream: RequestContext, deadline: float, max_message_bytes: int) -> None:
        self._engine = engine
        self._largest = max_message_bytes
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._deadline = deadline
        self._model = vision_pb2.ModelSpec()

    async def to(self, frame: Any) -> Any:
        """Returns the response to a frame, or to its error. Called in the order of the frames, so that the model of the
        previous frame is known; each call then runs as its own task."""
        started = time.perf_counter()
        response = vision_pb2.StreamResponse()
        version, code, model = None, "OK", self._model
        try:
            if isinstance(frame, InvalidInput):
                raise frame
            response.frame_id = frame.frame_id
            if frame.HasField("model"):
                self._model = model = frame.model
            field, answer = await self._answer(frame, model)
            version = answer.model.version
            getattr(response, field).CopyFrom(answer)
        except (asyncio.CancelledError, Unauthenticated) as error:
            # Without a known token no frame can be answered, so the stream ends.
            code = status_of(error).grpc
            raise
        except Exception as error:  # noqa: BLE001 - the client gets INTERNAL, the log gets the traceback
            code = status_of(error).grpc
            if not isinstance(error, CvserveError):
                _LOG.exception("a frame failed")
            response.error.CopyFrom(frame_error(error))
        finally:
            self._stream.answered(model.name, version, code, time.perf_counter() - started)
        return response

    async def _answer(self, frame: Any, model: Any) -> tuple[str, Any]:
        """Returns the field of the response and its message, which depend on the model's task."""
        self._stream.authorize(model.name)
        if frame.timeout_ms < 0:
            raise InvalidInput(f"timeout_ms must not be negative, but is {frame.timeout_ms}")
        own = self._loop.time() + frame.timeout_ms / 1000 if frame.timeout_ms else math.inf
        options = _options(frame, 0)
        answer = await self._engine.answer(
            model_ref(model),
            frame.image,
            options,
            deadline=min(self._deadline, own),
            check=functools.partial(check_method, method=None, name=model.name),
            encode=functools.partial(encode_frame, options=options, largest=self._largest),
        )
        field, response = answer.result
        response.model.CopyFrom(model_spec(answer.model))
        return field, response


def _options(request: Any, top_k: int) -> Options:
    if request.HasField("options"):
        return options_of(request.options, top_k)
    if top_k < 0:
        raise InvalidInput(f"top_k must be at least 1, not {top_k}")
    return Options(top_k) if top_k else DEFAULT_OPTIONS
