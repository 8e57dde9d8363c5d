"""The declaration of a protocol, with which a server can offer it.

A protocol is one folder. Its `__init__.py` holds a `Protocol`, which `cvserve/serving/server.py` lists. Everything
else is described by what `Protocol.open` returns: gRPC services, paths of the HTTP port, metrics. Listening, deadlines,
rights, request ids, errors, health and reflection are the transport's, and the same for all.

This module imports neither gRPC nor aiohttp, so that declaring a protocol takes no time before a server starts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cvserve.serving.errors import error_json

if TYPE_CHECKING:
    from google.protobuf.descriptor import ServiceDescriptor

    from cvserve.serving.core.engine import Engine
    from cvserve.serving.core.without_manifest import WarmUp
    from cvserve.serving.observability.metrics import ProtocolMetrics
    from cvserve.serving.observability.registry import Registry
    from cvserve.serving.security import Right
    from cvserve.serving.settings import ServerSettings


@dataclass(frozen=True)
class Host:
    """Holds what a server gives to its protocols.

    engine: the models; used on the loop's thread only. settings: the settings of the whole server. registry: takes the
    protocol's own metrics. threads: run work of more than about a millisecond, such as large JSON; they are few and
    shared by all protocols.
    """

    engine: Engine
    settings: ServerSettings
    registry: Registry
    threads: Executor


@dataclass(frozen=True)
class GrpcMethod:
    """Describes one method of a gRPC service.

    right: the right that a caller needs; None for none. model_of: returns the name of the model that a request names,
    "" for none. version_of: returns the version that made a response, None where the response does not name it.
    """

    right: Right | None = "inference"
    model_of: Callable[[Any], str] = lambda request: ""
    version_of: Callable[[Any], int | None] = lambda response: None


@dataclass(frozen=True)
class GrpcService:
    """Describes one gRPC service.

    descriptor: its methods, with the messages that they take and return. servicer: has an `async def
    method(request, context)` for each method. One that answers with a stream writes to the context; one that takes a
    stream gets `Requests`. A method that the servicer does not have is UNIMPLEMENTED. methods: by name; a method that
    is not listed is a `GrpcMethod()`. full_name: the service's name on the wire, where it is not the
    descriptor's. health_names: names for which the health service answers too.
    """

    descriptor: ServiceDescriptor
    servicer: object
    methods: Mapping[str, GrpcMethod] = field(default_factory=dict)
    full_name: str = ""
    health_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # A misspelled method would be served with the default right.
        if unknown := set(self.methods) - {method.name for method in self.descriptor.methods}:
            raise ValueError(f"the service {self.name} has no method {', '.join(sorted(unknown))}")

    @property
    def name(self) -> str:
        """Returns the service's name on the wire."""
        return self.full_name or str(self.descriptor.full_name)


@dataclass(frozen=True)
class HttpRequest:
    """Holds the method, path and headers of an HTTP request. path: as it was sent, not decoded, without the query.
    method: in capitals."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class HttpAnswer:
    """Holds the answer to an HTTP request. version: the version of the model that gave it, if one did."""

    body: bytes
    version: int | None = None
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class HttpCall:
    """Describes the call that one HTTP request asks for.

    method: its name in logs and metrics, which write "REST " in front of it. model: the model that it names, "" for
    none. answer: `async def answer(body, deadline) -> HttpAnswer`, the deadline in the loop's time. reads_body: False
    for a request without a body, which is answered also while the server drains. right: the right that a caller needs.
    """

    method: str
    model: str
    answer: Callable[[bytes, float], Awaitable[HttpAnswer]]
    reads_body: bool = True
    right: Right | None = "inference"


@dataclass(frozen=True)
class HttpRoutes:
    """Describes the paths of one protocol on the HTTP port.

    prefix: the start of the paths, in lower case; case is ignored. route: returns the call that a request asks for, or
    raises InvalidInput or NotFound. error: returns the body of an error with this text.
    """

    prefix: str
    route: Callable[[HttpRequest], HttpCall]
    error: Callable[[str], bytes] = error_json


@dataclass(frozen=True)
class Endpoints:
    """Holds the services, routes and metrics of a protocol on one server.

    metrics: gets every request and stage, to count them under the protocol's own names. on_drain: called when the
    server begins to shut down, to end streams that would go on for days.
    """

    grpc: Sequence[GrpcService] = ()
    http: Sequence[HttpRoutes] = ()
    metrics: ProtocolMetrics | None = None
    on_drain: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Protocol:
    """Declares a protocol.

    name: the name of the protocol. open: makes its endpoints for one server; it imports what it needs only then.
    warm_up: replays requests that were recorded in a version's directory, before the version takes others; see
    `cvserve.serving.core.loading.load`.
    """

    name: str
    open: Callable[[Host], Endpoints]
    warm_up: WarmUp | None = None
