"""Maps each kind of error to its gRPC status and HTTP code."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

from cvserve import errors


@dataclass(frozen=True)
class Status:
    """Holds the status of an error. grpc: the name of a grpc.StatusCode. http: TensorFlow Serving's HTTP code for
    it."""

    grpc: str
    http: int


INVALID_ARGUMENT = Status("INVALID_ARGUMENT", 400)
INTERNAL = Status("INTERNAL", 500)

STATUS_OF: dict[type[BaseException], Status] = {
    errors.InvalidInput: INVALID_ARGUMENT,
    errors.TooLarge: Status("RESOURCE_EXHAUSTED", 413),  # the code that gRPC itself gives
    errors.NotFound: Status("NOT_FOUND", 404),
    errors.FailedPrecondition: Status("FAILED_PRECONDITION", 400),
    errors.MissingExtra: Status("FAILED_PRECONDITION", 400),
    errors.Unavailable: Status("UNAVAILABLE", 503),
    errors.Overloaded: Status("RESOURCE_EXHAUSTED", 429),
    errors.OutOfMemory: Status("RESOURCE_EXHAUSTED", 429),
    errors.DeadlineExceeded: Status("DEADLINE_EXCEEDED", 504),
    errors.TooSlow: Status("DEADLINE_EXCEEDED", 408),
    errors.Cancelled: Status("CANCELLED", 499),
    asyncio.CancelledError: Status("CANCELLED", 499),
    errors.Unauthenticated: Status("UNAUTHENTICATED", 401),
    errors.PermissionDenied: Status("PERMISSION_DENIED", 403),
    errors.Unimplemented: Status("UNIMPLEMENTED", 501),
    errors.ArtifactError: INTERNAL,
    errors.ExportError: INTERNAL,
}
"""The status of each class of errors. Other classes have the status of their nearest base class in the table. Any other
error is a bug: INTERNAL."""

MAX_CHARACTERS = 1024
"""Longer texts are cut, as TensorFlow Serving does (grpc_status_util.cc): they travel in an HTTP/2 header."""


def status_of(error: BaseException) -> Status:
    """Returns the status of an exception."""
    for kind in type(error).__mro__:
        if kind in STATUS_OF:
            return STATUS_OF[kind]
    return INTERNAL


def text_of(error: BaseException) -> str:
    """Returns the text of an exception that goes to the client."""
    text = str(error) if isinstance(error, errors.CvserveError) else f"internal error: {type(error).__name__}: {error}"
    return text if len(text) <= MAX_CHARACTERS else text[:MAX_CHARACTERS] + "...TRUNCATED"


def error_json(text: str) -> bytes:
    """Returns the body of an error over HTTP: `{"error": text}`."""
    return json.dumps({"error": text}).encode()
