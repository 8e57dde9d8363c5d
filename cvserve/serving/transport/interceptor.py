"""What every request passes on its way in and out, on every protocol: its right, its id, its count, its log line."""

from __future__ import annotations

import secrets
import string
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Literal

from cvserve.errors import PermissionDenied, Unauthenticated
from cvserve.serving.core.batching.requests import PRIORITY, PRIORITY_HEADER
from cvserve.serving.core.observer import TRACED, Observer
from cvserve.serving.observability.tracing import NO_TRACES, Span, Tracing
from cvserve.serving.security.tokens import Access, Right

REQUEST_ID = "x-request-id"
LONGEST_ID = 128
_ALLOWED_IN_ID = frozenset(string.ascii_letters + string.digits + "-_.:/+=@")

Metadata = Iterable[tuple[str, str | bytes]]
LogRequests = Literal["errors", "all"]
Log = Callable[["Visit", str, BaseException | None, float], None]

FAULTS = frozenset(("INTERNAL", "UNKNOWN", "DATA_LOSS"))
"""Codes that are the server's fault, which the log always tells."""

_CURRENT: ContextVar[Visit | None] = ContextVar("cvserve_visit", default=None)


def current() -> Visit | None:
    """The request that this task works on."""
    return _CURRENT.get()


class Gate:
    """Surrounds the requests of every protocol.

    Example:
        visit = gate.enter("Predict", "inference", context.invocation_metadata, context.peer)
        try:
            visit.allow(model)
            ...
        finally:
            visit.leave(version, code, error)
    """

    def __init__(
        self,
        observer: Observer | None = None,
        access: Access | None = None,
        *,
        log: Log | None = None,
        log_requests: LogRequests = "errors",
        tracing: Tracing = NO_TRACES,
        priorities: bool = False,
    ) -> None:
        """
        Args:
            observer: told of every answer.
            access: who may do what; by default everybody everything.
            log: writes the line of a request: the visit, its code, its error, its seconds.
            priorities: whether requests may say their priority.
            log_requests: "errors": only those that failed through the server's fault, and those of management.
        """
        self.observer = observer or Observer()
        self.access = access or Access()
        self.tracing = tracing
        self.log = log
        self.priorities = priorities
        self.logs_all = log_requests == "all"

    def authorize(self, authorization: str | None, right: Right, model: str) -> str:
        """`Access.authorize`, with the refusals counted."""
        try:
            return self.access.authorize(authorization, right, model)
        except (Unauthenticated, PermissionDenied) as error:
            self.observer.rejected(model, "unauthenticated" if isinstance(error, Unauthenticated) else "permission")
            raise

    def enter(
        self, api: str, right: Right | None, metadata: Callable[[], Metadata | None], peer: Callable[[], str]
    ) -> Visit:
        """A request came.

        Args:
            api: as in `Observer.request`.
            right: what it needs; None for nothing.
            metadata: its headers, names in lower case; asked for only when something needs them.
            peer: where it comes from.
        """
        visit = Visit(self, api, right, metadata, peer)
        _CURRENT.set(visit)
        return visit

    def close(self) -> None:
        """Sends what is left of the traces, for a few seconds at most. Not to be called on the loop's thread."""
        self.tracing.close()


class Visit:
    """One request, from `Gate.enter` to `leave`. api: may be made more exact on the way."""

    __slots__ = (
        "_gate",
        "_headers",
        "_id",
        "_metadata",
        "_peer",
        "_right",
        "_span",
        "_started",
        "api",
        "caller",
        "model",
        "version",
    )

    def __init__(
        self,
        gate: Gate,
        api: str,
        right: Right | None,
        metadata: Callable[[], Metadata | None],
        peer: Callable[[], str],
    ) -> None:
        self.api = api
        self.model = ""
        self.version: int | None = None
        self.caller = ""
        """The name of the token."""
        self._gate = gate
        self._right = right
        self._metadata = metadata
        self._peer = peer
        self._headers: dict[str, str] | None = None
        self._id: str | None = None
        self._started = time.perf_counter()
        self._span: Span | None = None
        if gate.priorities:
            PRIORITY.set(self.headers.get(PRIORITY_HEADER))
        if gate.tracing.on:
            self._span = gate.tracing.begin(api, self.headers)
            TRACED.set(None if self._span is None else self._span.stage)

    @property
    def headers(self) -> dict[str, str]:
        """The headers that are text; of several with one name the last."""
        if self._headers is None:
            pairs = self._metadata() or ()
            self._headers = {name: value for name, value in pairs if isinstance(value, str)}
        return self._headers

    @property
    def request_id(self) -> str:
        """The client's `x-request-id` where it sent a usable one, else a new one."""
        if self._id is None:
            sent = self.headers.get(REQUEST_ID, "")
            # It goes into logs and headers: nothing that could end a line or fill a disk.
            usable = 0 < len(sent) <= LONGEST_ID and _ALLOWED_IN_ID.issuperset(sent)
            self._id = sent if usable else secrets.token_hex(8)
        return self._id

    @property
    def sent_id(self) -> bool:
        """Whether the client asked by an id of its own, which it then wants back."""
        return REQUEST_ID in self.headers

    @property
    def peer(self) -> str:
        """Where it came from."""
        return self._peer()

    def allow(self, model: str) -> None:
        """Checks whether the caller may ask this model; to be called for each model that a request asks.

        Args:
            model: "" for what is about the server as a whole.

        Raises:
            Unauthenticated, PermissionDenied
        """
        self.model = model
        if self._right is not None and self._gate.access.required:
            self.caller = self._gate.authorize(self.headers.get("authorization"), self._right, model)

    def leave(self, version: int | None, code: str, error: BaseException | None = None) -> None:
        """The request is answered.

        Args:
            version: that answered, where it is known.
            code: the name of the gRPC status.
            error: why it failed.
        """
        seconds = time.perf_counter() - self._started
        self._gate.observer.request(self.api, self.model, version, code, seconds)
        self._tell(version, code, error, seconds)

    def leave_stream(self, code: str, error: BaseException | None = None) -> None:
        """A stream ended, whose messages were counted one by one. See `leave`."""
        self._tell(None, code, error, time.perf_counter() - self._started)

    def _tell(self, version: int | None, code: str, error: BaseException | None, seconds: float) -> None:
        self.version = version
        gate = self._gate
        if self._span is not None:
            self._span.end(self.api, self.model, version, code)
        if gate.log is not None and (gate.logs_all or code in FAULTS or self._right == "management"):
            gate.log(self, code, error, seconds)
