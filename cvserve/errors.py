"""Defines the exceptions of cvserve.

Each says what kind of fault it is, and its text is one sentence for the person who can fix it: it names the
thing, the value and the way out. The command line prints that sentence; `cvserve.serving.errors` gives each
kind its gRPC and HTTP code. Any other exception that a caller sees is a bug of cvserve.
"""

from __future__ import annotations


class CvserveError(Exception):
    """Is the base of all errors that a user, a file or a client can cause. `str(error)` is one clear sentence."""

    request_id: str | None = None
    """The name of the request in the server's log, where a server refused it."""


class InvalidInput(CvserveError, ValueError):
    """Reports a value that cannot be used: an argument, an option, a tensor, a configuration."""


class ImageError(InvalidInput):
    """Reports an image that cannot be used.

    Args:
        source: what the user calls the image (a path, a URL, "request image 3").
        reason: why it was refused, without the name.
    """

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"{source}: {reason}")
        self.source = source
        self.reason = reason


class TooLarge(InvalidInput):
    """Reports a message that is larger than the server accepts."""


class NotFound(CvserveError, LookupError):
    """Reports a model, version, file or signature that does not exist."""


class ArtifactError(CvserveError):
    """Reports a model directory that is incomplete, damaged or not made for this version of cvserve."""


class ExportError(CvserveError):
    """Reports a network that a format cannot hold, or whose exported graph answers differently."""


class MissingExtra(CvserveError, ImportError):
    """Reports an optional dependency that is not installed; the text gives the pip command."""


class FailedPrecondition(CvserveError):
    """Reports a well-formed request for what this model or server cannot do."""


class Unauthenticated(CvserveError):
    """Reports a request without a token, or with one that the server does not know."""


class PermissionDenied(CvserveError):
    """Reports a known caller that has no right to do what it asked for."""


class Unimplemented(CvserveError):
    """Reports a method or a task that this version does not have."""


class Unavailable(CvserveError):
    """Reports that the model is loading or the server is draining: try again, here or elsewhere."""


class DeviceLost(Unavailable):
    """Reports that the device failed, not the call; this process may not be able to use it again."""


class Overloaded(CvserveError):
    """Reports a full queue. `retry_after` is the server's estimate, in seconds, of when there will be room."""

    def __init__(self, message: str, retry_after: float = 0.1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class OutOfMemory(CvserveError):
    """Reports that the device has no memory for this model or this input; a smaller batch may fit."""


class DeadlineExceeded(CvserveError, TimeoutError):
    """Reports that the deadline passed before the answer was ready."""


class TooSlow(DeadlineExceeded):
    """Reports that the sender took too long to send its message."""


class Cancelled(CvserveError):
    """Reports that the caller cancelled the request."""
