"""The exceptions of cvserve.

Each says what kind of fault it is, and its text is one sentence for the person who can fix it: it names the
thing, the value and the way out. The command line prints that sentence; `cvserve.serving.errors` gives each
kind its gRPC and HTTP code. Anything else that escapes is a bug of ours.
"""

from __future__ import annotations


class CvserveError(Exception):
    """Anything a user, a file or a client can cause. `str(error)` is one clear sentence."""

    request_id: str | None = None
    """The name of the request in the server's log, where a server refused it."""


class InvalidInput(CvserveError, ValueError):
    """A value that cannot be used: an argument, an option, a tensor, a configuration."""


class ImageError(InvalidInput):
    """An image that cannot be used.

    Args:
        source: what the user calls the image (a path, a URL, "request image 3").
        reason: why it was refused, without the name.
    """

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"{source}: {reason}")
        self.source = source
        self.reason = reason


class TooLarge(InvalidInput):
    """A message beyond what the server takes."""


class NotFound(CvserveError, LookupError):
    """A model, version, file or signature that is not there."""


class ArtifactError(CvserveError):
    """A model directory that is incomplete, damaged or not made for this version of cvserve."""


class ExportError(CvserveError):
    """A network that a format cannot hold, or whose exported graph answers differently."""


class MissingExtra(CvserveError, ImportError):
    """An optional dependency that is not installed; the text gives the pip command."""


class FailedPrecondition(CvserveError):
    """The request is well formed, but this model or server cannot do that."""


class Unauthenticated(CvserveError):
    """The request brings no token, or one that the server does not know."""


class PermissionDenied(CvserveError):
    """The caller is known, but may not do that."""


class Unimplemented(CvserveError):
    """A method or a task that this version does not have."""


class Unavailable(CvserveError):
    """The model is loading or the server is draining: try again, here or elsewhere."""


class DeviceLost(Unavailable):
    """The device failed rather than the call, and this process may not get it back."""


class Overloaded(CvserveError):
    """The queue is full. `retry_after` is the server's guess, in seconds, of when there is room."""

    def __init__(self, message: str, retry_after: float = 0.1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class OutOfMemory(CvserveError):
    """The device has no memory for this model or this input; a smaller batch may have room."""


class DeadlineExceeded(CvserveError, TimeoutError):
    """The deadline passed before the answer was there."""


class TooSlow(DeadlineExceeded):
    """The sender took too long over its message."""


class Cancelled(CvserveError):
    """The caller no longer wants the answer."""
