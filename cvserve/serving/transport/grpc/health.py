"""The service grpc.health.v1, which reports the state of the models.

The servicer of the package grpcio-health-checking is not used: it writes to its watchers under a lock that every change
of state needs too, so one watcher that does not read any more would keep the server from draining.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from cvserve.errors import NotFound, Overloaded, Unavailable
from cvserve.serving.core.manager import State, VersionStatus
from cvserve.serving.transport.protocol import GrpcMethod, GrpcService

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN

MAX_LISTED = 100
"""List answers RESOURCE_EXHAUSTED for more states, as health.proto says."""


class Health:
    """Answers the health service.

    It answers for the whole server under "" and the names of its services, for a model under its name and under
    `name/version`. Any other name is unknown: Check answers NOT_FOUND, Watch answers SERVICE_UNKNOWN. Used from the
    loop's thread only.
    """

    def __init__(self, services: Sequence[str] = ()) -> None:
        """
        Args:
            services: the names of the server's services.
        """
        self._services = ("", *services)
        self._states: dict[str, Any] = {}
        self._watchers: dict[str, set[asyncio.Event]] = {}
        self._draining = False
        self._closed = False

    @property
    def service(self) -> GrpcService:
        """Returns the declaration of the service, which needs no token."""
        descriptor = health_pb2.DESCRIPTOR.services_by_name["Health"]
        return GrpcService(descriptor, self, dict.fromkeys(("Check", "List", "Watch"), GrpcMethod(right=None)))

    def starting(self) -> None:
        """Publishes that the server is up and its models are loading."""
        self._replace(dict.fromkeys(self._services, NOT_SERVING))

    def update(self, versions: Iterable[VersionStatus], ready: bool) -> None:
        """Publishes the state of every version; all other models become unknown.

        If the device of a version has failed, neither the version nor the server as a whole is serving: only a new
        process can use the device again, and an orchestrator that watches this state should start one.

        Args:
            ready: whether the server as a whole takes requests.
        """
        states: dict[str, Any] = {}
        for status in versions:
            state = SERVING if status.state is State.AVAILABLE and status.lost is None else NOT_SERVING
            ready = ready and status.lost is None
            states[f"{status.name}/{status.version}"] = state
            if states.get(status.name) != SERVING:
                states[status.name] = state
        self._replace(states | dict.fromkeys(self._services, SERVING if ready else NOT_SERVING))

    @property
    def serving(self) -> bool:
        """Returns whether the server as a whole serves."""
        return bool(self._states.get("") == SERVING)

    def draining(self) -> None:
        """Sets every state to NOT_SERVING, for good."""
        self._draining = True
        self._replace(self._states)

    def close(self) -> None:
        """Ends the watches, at the end of the drain."""
        self._closed = True
        self._wake(self._watchers)

    async def Check(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """Returns the state of a service or model now."""
        state = self._states.get(request.service)
        if state is None:
            raise NotFound(f"no service and no model {request.service!r} here")
        return health_pb2.HealthCheckResponse(status=state)

    async def List(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """Returns the states of all services and models."""
        if len(self._states) > MAX_LISTED:
            raise Overloaded(f"{len(self._states)} services and models are more than the {MAX_LISTED} of a list")
        answers = {name: health_pb2.HealthCheckResponse(status=state) for name, state in self._states.items()}
        return health_pb2.HealthListResponse(statuses=answers)

    async def Watch(self, request: Any, context: grpc.aio.ServicerContext) -> None:
        """Writes the state of a service or model now and after every change. Of several changes while the client does
        not read, it gets the last."""
        changed = asyncio.Event()
        watchers = self._watchers.setdefault(request.service, set())
        watchers.add(changed)
        written = None
        try:
            # The state is written before the end is checked: draining and the end may come in the same turn of the
            # loop, and the watcher must still get NOT_SERVING.
            while True:
                changed.clear()
                state = self._states.get(request.service, SERVICE_UNKNOWN)
                if state != written:
                    await context.write(health_pb2.HealthCheckResponse(status=state))
                    written = state
                elif self._closed:
                    break
                else:
                    await changed.wait()
        finally:
            watchers.discard(changed)
            if not watchers and self._watchers.get(request.service) is watchers:
                del self._watchers[request.service]
        raise Unavailable("the server is shutting down")

    def _replace(self, states: dict[str, Any]) -> None:
        if self._draining:
            states = dict.fromkeys(states, NOT_SERVING)
        before, self._states = self._states, states
        self._wake(name for name in self._watchers if before.get(name) != states.get(name))

    def _wake(self, names: Iterable[str]) -> None:
        for name in list(names):
            for changed in self._watchers[name]:
                changed.set()
