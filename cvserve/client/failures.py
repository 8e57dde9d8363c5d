"""Converts failed calls to exceptions of cvserve.errors, with the server's own message."""

from __future__ import annotations

import re
from typing import Any, NoReturn

import grpc

from cvserve import errors

REQUEST_ID = "x-request-id"
"""The header with the id of a request in the server's log, in requests and in answers."""

_KIND_OF: dict[grpc.StatusCode, type[errors.CvserveError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidInput,
    grpc.StatusCode.OUT_OF_RANGE: errors.InvalidInput,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.FAILED_PRECONDITION: errors.FailedPrecondition,
    grpc.StatusCode.UNIMPLEMENTED: errors.Unimplemented,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    grpc.StatusCode.CANCELLED: errors.Cancelled,
    grpc.StatusCode.UNAUTHENTICATED: errors.Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDenied,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.Overloaded,
}

_NO_SERVER = re.compile(
    r"failed to connect|connection refused|(dns|name) resolution|socket closed|connection reset|broken pipe|goaway"
    r"|no connection established|connection attempt timed out",
    re.IGNORECASE,
)
_NO_MEMORY = re.compile(r"no memory left|\bOOM\b|out of memory", re.IGNORECASE)
_NO_TRUST = re.compile(r"handshake|ssl_error|certificate|verification", re.IGNORECASE)


def never_arrived(error: grpc.RpcError) -> bool:
    """Returns whether the call ended because there was no connection, not because the server answered."""
    return error.code() is grpc.StatusCode.UNAVAILABLE and bool(_NO_SERVER.search(error.details() or ""))


def no_server(target: str, tls: bool, why: str = "") -> errors.Unavailable:
    """Returns the error for a target at which no server answers.

    Args:
        tls: whether the client uses TLS.
        why: gRPC's own text.
    """
    if tls and _NO_TRUST.search(why):
        return errors.Unavailable(f"{target} and this client do not agree on TLS: {why}")
    hint = ", or it wants another certificate of this client" if tls else ", or it wants TLS"
    if "socket closed" not in why.lower():
        hint = ""
    return errors.Unavailable(f"no server answers at {target}{hint}")


def raise_for(error: grpc.RpcError, target: str, timeout: float | None, tls: bool = False) -> NoReturn:
    """Raises the exception of cvserve.errors for a failed call.

    Args:
        timeout: the seconds that the call had.
        tls: whether the client uses TLS.
    """
    raise _exception_of(error, target, timeout, tls) from error


def _exception_of(error: grpc.RpcError, target: str, timeout: float | None, tls: bool) -> errors.CvserveError:
    code, details = error.code(), error.details() or ""
    if never_arrived(error):
        return no_server(target, tls, details)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED and timeout is not None:
        return errors.DeadlineExceeded(f"{target} did not answer within {timeout:g} s")
    text = f"{target}: {details or code.name}"
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
        # gRPC's own answer to a message over the limit; another try would fail too.
        return errors.InvalidInput(f"{text}: the image is too large for one message")
    trailers = {key: value for key, value in error.trailing_metadata() or ()}
    pushback = trailers.get("grpc-retry-pushback-ms")
    failure = fault(code, text, None if pushback is None else int(pushback) / 1000)
    failure.request_id = trailers.get(REQUEST_ID)
    return failure


def fault(code: Any, text: str, retry_after: float | None = None) -> errors.CvserveError:
    """Returns the exception for a status.

    Args:
        code: a grpc.StatusCode.
        retry_after: seconds, for Overloaded.
    """
    kind = _KIND_OF.get(code, errors.CvserveError)
    # A full queue gives the time after which to try again. Without it, another try would not help.
    if kind is errors.Overloaded and retry_after is None and _NO_MEMORY.search(text):
        return errors.OutOfMemory(text)
    if kind is errors.Overloaded and retry_after is not None:
        return errors.Overloaded(text, retry_after)
    return kind(text)


STATUS_OF_NUMBER: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}
