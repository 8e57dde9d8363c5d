"""What every method of every service does around its own work: the message read, deadlines in, errors out.

gRPC's own deserialisers answer a message that cannot be read with UNKNOWN or INTERNAL, as if the server were at fault.
So handlers are registered without one and get the bytes, which are read here, where a fault is the client's.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar

import grpc
from google.protobuf.message import DecodeError

from cvserve.errors import CvserveError, InvalidInput, Overloaded
from cvserve.serving.core.engine import Engine
from cvserve.serving.errors import INTERNAL, status_of, text_of
from cvserve.serving.security.tokens import Right
from cvserve.serving.transport.interceptor import REQUEST_ID, Gate, current

_LOG = logging.getLogger(__name__)

Message = TypeVar("Message")
Handler = Callable[[Any, grpc.aio.ServicerContext], Awaitable[Any]]
"""`async def method(request, context) -> response`; those that answer with a stream write to the context instead."""


@dataclass(frozen=True)
class Method:
    """What is known of a method before it is called.

    name: "Classify". right: what a caller needs, None for nothing. parse: bytes to the request, DecodeError where
    they are none. model_of: the name of the model that a request asks, "" where it asks none. version_of: the version
    that a response comes from, None where it names none.
    """

    name: str
    right: Right | None
    parse: Callable[[bytes], Any]
    model_of: Callable[[Any], str]
    version_of: Callable[[Any], int | None]


class Calls:
    """Surrounds the methods of all services on one port."""

    def __init__(self, gate: Gate | None = None) -> None:
        """
        Args:
            gate: what every call passes; by default one that lets everybody do everything and tells nobody.
        """
        self._gate = gate or Gate()
        self.answered = self._gate.observer.request

    def authorize(self, context: grpc.aio.ServicerContext, right: Right, model: str) -> None:
        """Checks whether the caller of a stream may ask this model.

        Raises:
            Unauthenticated, PermissionDenied
        """
        if self._gate.access.required:
            headers = dict(context.invocation_metadata() or ())
            self._gate.authorize(headers.get("authorization"), right, model)

    def answering(self, method: Method, handler: Handler) -> Handler:
        """A handler from the request's bytes to the response. One coroutine and no context manager: it is in the way
        of every request."""
        name, parse, model_of, version_of = method.name, method.parse, method.model_of, method.version_of
        right, gate = method.right, self._gate

        async def call(raw: bytes, context: grpc.aio.ServicerContext) -> Any:
            visit = gate.enter(name, right, context.invocation_metadata, context.peer)
            try:
                request = parse(raw)
                visit.allow(model_of(request))
                response = await handler(request, context)
                visit.leave(version_of(response), "OK")
                return response
            except BaseException as error:  # noqa: BLE001 - see _end
                visit.leave(None, code_of(error), error)
                await self._end(name, context, error)

        return call

    def looking_first(self, method: Method, handler: Handler, engine: Engine) -> Handler:
        """The same for a method registered as one of streams, so that its message is read only if there is room."""
        answer = self.answering(method, handler)

        async def call(_: Any, context: grpc.aio.ServicerContext) -> None:
            try:
                engine.check_room(deadline_of(context))
            except CvserveError as error:
                visit = self._gate.enter(method.name, method.right, context.invocation_metadata, context.peer)
                visit.model = engine.pressed or ""
                visit.leave(None, code_of(error), error)
                await self._end(method.name, context, error)
            raw = await context.read()
            if raw is not grpc.aio.EOF:
                await context.write(await answer(raw, context))

        return call

    def streaming(self, method: Method, handler: Handler) -> Handler:
        """A handler that writes its responses to the context.

        Its request is the bytes of one message where the client sends one; otherwise the handler gets `Requests`, and
        authorizes and reports each message itself: streams may last for days.
        """

        async def call(raw: Any, context: grpc.aio.ServicerContext) -> None:
            visit = self._gate.enter(method.name, method.right, context.invocation_metadata, context.peer)
            try:
                if isinstance(raw, bytes):
                    request = method.parse(raw)
                    visit.allow(method.model_of(request))
                else:
                    request = Requests(method, context)
                await handler(request, context)
                visit.leave_stream("OK")
            except BaseException as error:  # noqa: BLE001 - see _end
                visit.leave_stream(code_of(error), error)
                await self._end(method.name, context, error)

        return call

    async def _end(self, name: str, context: grpc.aio.ServicerContext, error: BaseException) -> NoReturn:
        """Ends a call with the status of what its handler raised."""
        if isinstance(error, DecodeError):
            await refuse(context, unreadable(error))
        if isinstance(error, CvserveError):
            await refuse(context, error)
        if isinstance(error, Exception) and not isinstance(error, grpc.aio.AbortError):
            # The client gets INTERNAL, the log gets the traceback.
            _LOG.error("%s failed", name, exc_info=error)
            await refuse(context, error)
        raise error


class Requests(Generic[Message]):
    """The messages of a client that sends a stream of them."""

    def __init__(self, method: Method, context: grpc.aio.ServicerContext) -> None:
        self._parse = method.parse
        self._context = context

    async def read(self) -> Message | None:
        """The next message; None after the last one.

        Raises:
            InvalidInput: it cannot be read. The next one may be.
        """
        raw = await self._context.read()
        if raw is grpc.aio.EOF:
            return None
        try:
            message: Message = self._parse(raw)
        except DecodeError as error:
            raise unreadable(error) from error
        return message

    async def __aiter__(self) -> Any:
        while (message := await self.read()) is not None:
            yield message


def unreadable(error: DecodeError) -> InvalidInput:
    """The client's fault that a message which is no protobuf of its type is."""
    return InvalidInput(f"the message cannot be read as the method's request: {error}")


def code_of(error: BaseException) -> str:
    """The name of the gRPC status that a call ends with over `error`."""
    return "INVALID_ARGUMENT" if isinstance(error, DecodeError) else status_of(error).grpc


async def refuse(context: grpc.aio.ServicerContext, error: BaseException) -> NoReturn:
    """Ends the call with the status of `error`."""
    status = status_of(error)
    if status is INTERNAL and isinstance(error, CvserveError):
        _LOG.error("%s", error)
    visit = current()
    trailers: tuple[tuple[str, str], ...] = () if visit is None else ((REQUEST_ID, visit.request_id),)
    if isinstance(error, Overloaded):
        # gRPC's own clients honour it (proposal A6, "server pushback").
        trailers = (*trailers, ("grpc-retry-pushback-ms", str(round(error.retry_after * 1000))))
    try:
        await context.abort(getattr(grpc.StatusCode, status.grpc), text_of(error), trailers)
    except grpc.aio.InternalError:
        # The client has gone, and gRPC would log that as a fault of ours, with a traceback, which takes the loop longer
        # than a refusal: under overload many clients go when their deadline passes.
        raise asyncio.CancelledError from None
    raise AssertionError("abort does not return")


def deadline_of(context: grpc.aio.ServicerContext) -> float:
    """The call's deadline in the loop's time; math.inf without one."""
    remaining = context.time_remaining()
    return math.inf if remaining is None else asyncio.get_running_loop().time() + remaining
