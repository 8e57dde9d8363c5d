"""What every method of every service does around its own work: deadlines in, errors out."""

from __future__ import annotations

import asyncio
import functools
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import grpc

from cvserve.errors import CvserveError, Overloaded
from cvserve.serving.errors import INTERNAL, status_of, text_of

_LOG = logging.getLogger(__name__)

Handler = Callable[[Any, Any, grpc.aio.ServicerContext], Awaitable[Any]]


def answering(handler: Handler) -> Handler:
    """Turns the exceptions of an `async def method(self, request, context)` into the client's status and sentence."""

    @functools.wraps(handler)
    async def call(service: Any, request: Any, context: grpc.aio.ServicerContext) -> Any:
        try:
            return await handler(service, request, context)
        except CvserveError as error:
            await refuse(context, error)
        except (grpc.aio.AbortError, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001 - the client gets INTERNAL, the log gets the traceback
            _LOG.exception("%s failed", handler.__qualname__)
            await refuse(context, error)

    return call


async def refuse(context: grpc.aio.ServicerContext, error: BaseException) -> NoReturn:
    """Ends the call with the status of `error`."""
    status = status_of(error)
    if status is INTERNAL and isinstance(error, CvserveError):
        _LOG.error("%s", error)
    trailers: tuple[tuple[str, str], ...] = ()
    if isinstance(error, Overloaded):
        # gRPC's own clients honour it (proposal A6, "server pushback").
        trailers = (("grpc-retry-pushback-ms", str(round(error.retry_after * 1000))),)
    await context.abort(getattr(grpc.StatusCode, status.grpc), text_of(error), trailers)
    raise AssertionError("abort does not return")


def deadline_of(context: grpc.aio.ServicerContext) -> float:
    """The call's deadline in the loop's time; math.inf without one."""
    remaining = context.time_remaining()
    return math.inf if remaining is None else asyncio.get_running_loop().time() + remaining
