"""Handles what every request of every protocol needs: rights, request id, metrics, log line and trace."""

from __future__ import annotations

import ipaddress
import logging
import secrets
import string
import time
from collections.abc import Callable, Iterable
from typing import Literal

from cvserve.errors import PermissionDenied, Unauthenticated
from cvserve.serving.core.batching.requests import PRIORITY, PRIORITY_HEADER
from cvserve.serving.core.observer import TRACE, Observer
from cvserve.serving.observability.logs import REQUEST, log_request
from cvserve.serving.observability.tracing import NO_TRACES, OpenTelemetry, Span, Tracing
from cvserve.serving.security import Access, Right
from cvserve.serving.settings import ServerSettings

REQUEST_ID = "x-request-id"
MAX_ID_CHARACTERS = 128
_ALLOWED_IN_ID = frozenset(string.ascii_letters + string.digits + "-_.:/+=@")

Metadata = Iterable[tuple[str, str | bytes]]
LogRequests = Literal["errors", "all"]
LogRequest = Callable[["RequestContext", str, BaseException | None, float], None]

SERVER_FAULTS = frozenset(("INTERNAL", "UNKNOWN", "DATA_LOSS"))
"""Codes of errors that are the server's fault. They are always logged."""

_LOG = logging.getLogger(__name__)


class Interceptor:
    """Begins and ends the requests of every protocol.

    Example:
        request = interceptor.begin("Predict", "inference", context.invocation_metadata, context.peer)
        try:
            request.allow(model)
            ...
        finally:
            request.end(version, code, error)
    """

    def __init__(
        self,
        observer: Observer | None = None,
        access: Access | None = None,
        *,
        log: LogRequest | None = None,
        log_requests: LogRequests = "errors",
        tracing: Tracing = NO_TRACES,
        priorities: bool = False,
    ) -> None:
        """
        Args:
            observer: is notified of every answer.
            access: checks the tokens of requests; by default every request is allowed.
            log: writes the log line of a request; None: requests are not logged.
            log_requests: "errors" logs only requests that failed by the server's fault, and those of management.
            priorities: whether requests may carry a priority.
        """
        self.observer = observer or Observer()
        self.access = access or Access()
        self.tracing = tracing
        self.priorities = priorities
        self.log = log
        self.logs_all = log_requests == "all"

    def authorize(self, authorization: str | None, right: Right, model: str) -> str:
        """Calls `Access.authorize`, and counts the refusals."""
        try:
            return self.access.authorize(authorization, right, model)
        except (Unauthenticated, PermissionDenied) as error:
            self.observer.rejected(model, "unauthenticated" if isinstance(error, Unauthenticated) else "permission")
            raise

    def begin(
        self, api: str, right: Right | None, metadata: Callable[[], Metadata | None], peer: Callable[[], str]
    ) -> RequestContext:
        """Returns the context of a request that came.

        Args:
            api: as in `Observer.request`.
            right: what the request needs; None for nothing.
            metadata: returns the request's headers, names in lower case; called only when something needs them.
            peer: returns where the request comes from.
        """
        request = RequestContext(self, api, right, metadata, peer)
        REQUEST.set(request)
        return request

    def close(self) -> None:
        """Sends the remaining traces, for a few seconds at most. Must not be called on the loop's thread."""
        self.tracing.close()


class RequestContext:
    """Holds the data of one request, from `Interceptor.begin` to `end`.

    api, right: may be set more exactly when the request has been read. caller: the name of its token.
    """

    __slots__ = (
        "_headers",
        "_id",
        "_interceptor",
        "_metadata",
        "_peer",
        "_span",
        "_started",
        "api",
        "caller",
        "model",
        "right",
        "version",
    )

    def __init__(
        self,
        interceptor: Interceptor,
        api: str,
        right: Right | None,
        metadata: Callable[[], Metadata | None],
        peer: Callable[[], str],
    ) -> None:
        self.api = api
        self.model = ""
        self.version: int | None = None
        self.caller = ""
        self._interceptor = interceptor
        self.right = right
        self._metadata = metadata
        self._peer = peer
        self._headers: dict[str, str] | None = None
        self._id: str | None = None
        self._started = time.perf_counter()
        self._span: Span | None = None
        if interceptor.priorities:
            PRIORITY.set(self.headers.get(PRIORITY_HEADER))
        if interceptor.tracing.on:
            self._span = interceptor.tracing.begin(api, self.headers)
            TRACE.set(None if self._span is None else self._span.stage)

    @property
    def headers(self) -> dict[str, str]:
        """Returns the headers that are text; of several headers with the same name, the last one."""
        if self._headers is None:
            pairs = self._metadata() or ()
            self._headers = {name: value for name, value in pairs if isinstance(value, str)}
        return self._headers

    @property
    def request_id(self) -> str:
        """Returns the client's `x-request-id` where it sent a usable one, else a new one."""
        if self._id is None:
            sent = self.headers.get(REQUEST_ID, "")
            # It is written to logs and headers, so line ends and very long ids are not accepted.
            usable = 0 < len(sent) <= MAX_ID_CHARACTERS and _ALLOWED_IN_ID.issuperset(sent)
            self._id = sent if usable else secrets.token_hex(8)
        return self._id

    @property
    def has_own_id(self) -> bool:
        """Returns whether the client sent its own id, which is then returned to it."""
        return REQUEST_ID in self.headers

    @property
    def peer(self) -> str:
        """Returns where the request came from."""
        return self._peer()

    def allow(self, model: str) -> None:
        """Records the model of the request, and checks whether the caller may use it.

        Args:
            model: its name; "" for a request about the server as a whole.

        Raises:
            Unauthenticated, PermissionDenied
        """
        self.model = model
        self.caller = self.authorize(model)

    def authorize(self, model: str) -> str:
        """Checks whether the caller may use this model; to be called for each model of a request.

        Returns:
            The name of the caller's token; "" where none is needed.

        Raises:
            Unauthenticated, PermissionDenied
        """
        if self.right is None or not self._interceptor.access.required:
            return ""
        return self._interceptor.authorize(self.headers.get("authorization"), self.right, model)

    def answered(self, model: str, version: int | None, code: str, seconds: float) -> None:
        """Counts one message of a stream that was answered."""
        self._interceptor.observer.request(self.api, model, version, code, seconds)

    def end(self, version: int | None, code: str, error: BaseException | None = None) -> None:
        """Reports that the request was answered.

        Args:
            version: the version that answered, where it is known.
            code: the name of the gRPC status.
            error: why the request failed.
        """
        seconds = time.perf_counter() - self._started
        self._interceptor.observer.request(self.api, self.model, version, code, seconds)
        self._report(version, code, error, seconds)

    def end_stream(self, code: str, error: BaseException | None = None) -> None:
        """Reports the end of a stream, whose messages were counted one by one. See `end`."""
        self._report(None, code, error, time.perf_counter() - self._started)

    def _report(self, version: int | None, code: str, error: BaseException | None, seconds: float) -> None:
        self.version = version
        interceptor = self._interceptor
        if self._span is not None:
            self._span.end(self.api, self.model, version, code)
        if interceptor.log is not None and (
            interceptor.logs_all or code in SERVER_FAULTS or self.right == "management"
        ):
            interceptor.log(self, code, error, seconds)


def interceptor_of(settings: ServerSettings, observer: Observer) -> Interceptor:
    """Returns the interceptor that the settings describe.

    Raises:
        NotFound, InvalidInput: the file of tokens. MissingExtra: traces are wanted and not installed.
    """
    access = Access(settings.tokens)
    if access.required and settings.tls is None and not _is_local(settings.host):
        _LOG.warning("tokens are used without tls: anybody who can read the network traffic can read them")
    return Interceptor(
        observer,
        access,
        log=log_request,
        log_requests=settings.log_requests,
        tracing=NO_TRACES if settings.telemetry is None else OpenTelemetry(settings.telemetry),
        priorities=any(model.priority_levels for model in (settings, *settings.models.values())),
    )


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
