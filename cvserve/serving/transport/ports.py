"""Opens and closes the two ports of a server, gRPC and HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from importlib import import_module
from typing import TYPE_CHECKING

from cvserve.errors import CvserveError, Unavailable
from cvserve.extras import require
from cvserve.serving.settings import ServerSettings
from cvserve.serving.transport.grpc.listening import listen
from cvserve.serving.transport.http.listening import bind, http_port
from cvserve.serving.transport.interceptor import Interceptor
from cvserve.serving.transport.protocol import Endpoints

if TYPE_CHECKING:
    from cvserve.serving.core.engine import Engine
    from cvserve.serving.transport.grpc.health import Health
    from cvserve.serving.transport.http.server import HttpServer


class Ports:
    """Holds the ports: the constructor binds them, `open` adds the endpoints of protocols, `start` listens."""

    def __init__(self, settings: ServerSettings, interceptor: Interceptor) -> None:
        """
        Raises:
            InvalidInput: a port is in use, or its address is not one of this machine. NotFound: a certificate.
        """
        self._settings = settings
        self._interceptor = interceptor
        self._grpc, self.port = listen(settings)
        port = http_port(settings)
        self._socket = None if port is None else bind(settings.host, port)
        self._not_started: HttpServer | None = None
        self.http: HttpServer | None = None
        """The HTTP port, once it listens; None where there is none."""

    def open(
        self,
        endpoints: Sequence[Endpoints],
        engine: Engine,
        *,
        threads: Executor,
        metrics: Callable[[], bytes],
        not_ready: Callable[[], str],
    ) -> Health:
        """Adds endpoints to the ports. Called before `start`.

        Args:
            threads, metrics, not_ready: see `HttpServer`.

        Returns:
            The health service, for the state of the models.
        """
        from cvserve.serving.transport.grpc.services import add_services
        from cvserve.serving.transport.http.server import HttpServer

        health = add_services(
            self._grpc,
            [service for each in endpoints for service in each.grpc],
            interceptor=self._interceptor,
            reflection=self._settings.reflection,
        )
        if self._socket is not None:
            self._not_started = HttpServer(
                self._settings,
                [routes for each in endpoints for routes in each.http],
                interceptor=self._interceptor,
                threads=threads,
                listening=self._socket,
                metrics=metrics,
                not_ready=not_ready,
            )
        return health

    async def start(self) -> None:
        """Starts answering requests.

        Raises:
            NotFound, InvalidInput: certificates that cannot be used.
        """
        await self._grpc.start()
        if self._not_started is not None:
            await self._not_started.start()
            self.http = self._not_started

    def drain(self) -> None:
        """Refuses new requests over HTTP. Over gRPC the engine refuses them."""
        if self.http is not None:
            self.http.drain()

    async def stop(self, seconds: float | None = None) -> None:
        """Closes the ports.

        Args:
            seconds: the time for answers that are being written; None cuts them off.
        """
        stopping = [self._grpc.stop(seconds)]
        if self.http is not None:
            stopping.append(self.http.stop(seconds or 0.0))
        elif self._socket is not None:
            self._socket.close()
        await asyncio.gather(*stopping)


def import_ports() -> None:
    """Imports the libraries of the ports, which takes a moment.

    Raises:
        MissingExtra, Unavailable: a library is not installed.
    """
    for module in ("grpc_health.v1", "grpc_reflection.v1alpha", "aiohttp"):
        require(module)
    with naming_the_extra():
        for name in ("grpc.services", "http.server"):
            import_module(f"cvserve.serving.transport.{name}")


@contextlib.contextmanager
def naming_the_extra() -> Iterator[None]:
    """Names the extra to install where a library is missing.

    Raises:
        Unavailable: instead of a ModuleNotFoundError.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if isinstance(error, CvserveError):
            raise
        raise Unavailable(f"{error.name} is missing: pip install 'cvserve[serve]'") from error
