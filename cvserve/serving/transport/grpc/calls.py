"""Wraps every method of every gRPC service: reads the message, checks rights, maps errors, reports the end.

gRPC's own deserialisers answer a message that cannot be read with UNKNOWN or INTERNAL, as if the server were at fault.
So handlers are registered without one and get the bytes. They are parsed here, and a message that cannot be read gets
INVALID_ARGUMENT.
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
from cvserve.serving.errors import INTERNAL, status_of, text_of
from cvserve.serving.observability.logs import REQUEST
from cvserve.serving.transport.interceptor import REQUEST_ID, Interceptor, RequestContext
from cvserve.serving.transport.protocol import GrpcMethod

_LOG = logging.getLogger(__name__)

Message = TypeVar("Message")
Handler = Callable[[Any, grpc.aio.ServicerContext], Awaitable[Any]]
"""`async def method(request, context) -> response`; those that answer with a stream write to the context instead."""


@dataclass(frozen=True)
class Method:
    """Describes a method on the port. name: "Classify". parse: converts bytes to the request; raises DecodeError."""

    name: str
    parse: Callable[[bytes], Any]
    declared: GrpcMethod


class Calls:
    """Wraps the methods of all services on one port."""

    def __init__(self, interceptor: Interceptor) -> None:
        self._interceptor = interceptor

    def begin(self, method: Method, context: grpc.aio.ServicerContext) -> RequestContext:
        """Returns the context of a call that came."""
        return self._interceptor.begin(method.name, method.declared.right, context.invocation_metadata, context.peer)

    def unary(self, method: Method, handler: Handler) -> Handler:
        """Returns a handler that takes the request's bytes and returns the response.

        It is one coroutine without a context manager, for speed, since every request passes through it.
        """
        name, parse, right = method.name, method.parse, method.declared.right
        model_of, version_of = method.declared.model_of, method.declared.version_of
        begin = self._interceptor.begin

        async def call(raw: bytes, context: grpc.aio.ServicerContext) -> Any:
            request = begin(name, right, context.invocation_metadata, context.peer)
            try:
                message = parse(raw)
                request.allow(model_of(message))
                response = await handler(message, context)
                request.end(version_of(response), "OK")
                return response
            except BaseException as error:  # noqa: BLE001 - see abort
                request.end(None, code_of(error), error)
                await abort(name, context, error)

        return call

    def streaming(self, method: Method, handler: Handler) -> Handler:
        """Returns a handler that writes its responses to the context.

        The handler gets the request where the client sends one message. Where it sends a stream, the handler gets
        `Requests`, and checks and counts each message itself: streams may last for days.
        """

        async def call(raw: Any, context: grpc.aio.ServicerContext) -> None:
            request = self.begin(method, context)
            try:
                if isinstance(raw, bytes):
                    message = method.parse(raw)
                    request.allow(method.declared.model_of(message))
                else:
                    message = Requests(method, context, request)
                await handler(message, context)
                request.end_stream("OK")
            except BaseException as error:  # noqa: BLE001 - see abort
                request.end_stream(code_of(error), error)
                await abort(method.name, context, error)

        return call


class Requests(Generic[Message]):
    """Reads the messages of a client that sends a stream. context: the context of the call, to check and count
    messages."""

    def __init__(self, method: Method, call: grpc.aio.ServicerContext, context: RequestContext) -> None:
        self._parse = method.parse
        self._call = call
        self.context = context

    async def read(self) -> Message | None:
        """Returns the next message; None after the last one.

        Raises:
            InvalidInput: the message cannot be read. The next one may be.
        """
        raw = await self._call.read()
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
    """Returns the error for a message that is not a protobuf of its type, which is the client's fault."""
    return InvalidInput(f"the message cannot be read as the method's request: {error}")


def code_of(error: BaseException) -> str:
    """Returns the name of the gRPC status that a call ends with when its handler raises `error`."""
    return "INVALID_ARGUMENT" if isinstance(error, DecodeError) else status_of(error).grpc


async def abort(name: str, context: grpc.aio.ServicerContext, error: BaseException) -> NoReturn:
    """Ends a call of the method `name` with the status of what its handler raised."""
    if isinstance(error, DecodeError):
        await refuse(context, unreadable(error))
    if isinstance(error, CvserveError):
        await refuse(context, error)
    if isinstance(error, Exception) and not isinstance(error, grpc.aio.AbortError):
        # The client gets INTERNAL, the log gets the traceback.
        _LOG.error("%s failed", name, exc_info=error)
        await refuse(context, error)
    raise error


async def refuse(context: grpc.aio.ServicerContext, error: BaseException) -> NoReturn:
    """Ends the call with the status of `error`."""
    status = status_of(error)
    if status is INTERNAL and isinstance(error, CvserveError):
        _LOG.error("%s", error)
    request = REQUEST.get()
    trailers: tuple[tuple[str, str], ...] = () if request is None else ((REQUEST_ID, request.request_id),)
    if isinstance(error, Overloaded):
        # gRPC's own clients obey it (proposal A6, "server pushback").
        trailers = (*trailers, ("grpc-retry-pushback-ms", str(round(error.retry_after * 1000))))
    try:
        await context.abort(getattr(grpc.StatusCode, status.grpc), text_of(error), trailers)
    except grpc.aio.InternalError:
        # The client has disconnected. gRPC would log that as an error with a traceback, which takes longer than a
        # refusal, and under overload many clients disconnect when their deadline passes.
        raise asyncio.CancelledError from None
    raise AssertionError("abort does not return")


def deadline_of(context: grpc.aio.ServicerContext) -> float:
    """Returns the call's deadline in the loop's time; math.inf without one."""
    remaining = context.time_remaining()
    return math.inf if remaining is None else asyncio.get_running_loop().time() + remaining
