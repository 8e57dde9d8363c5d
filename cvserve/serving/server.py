"""The composition root: builds the server from core, protocols, ports, security and observability.

A protocol is added in one line, in PROTOCOLS.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from cvserve.errors import InvalidInput, NotFound
from cvserve.extras import require
from cvserve.serving.core import loading
from cvserve.serving.core.background import Watcher
from cvserve.serving.core.engine import Engine
from cvserve.serving.core.loaded_model import LoadedModel
from cvserve.serving.core.loading import LoadModel
from cvserve.serving.core.manager import State, VersionStatus
from cvserve.serving.core.memory import CollectorFreeze
from cvserve.serving.core.observer import Observer, Observers
from cvserve.serving.core.repository import Repository
from cvserve.serving.core.settings import ModelConfig, ModelSettings
from cvserve.serving.protocols import tensorflow_serving, vision
from cvserve.serving.settings import ServerSettings
from cvserve.serving.status_lines import StatusLines, describe
from cvserve.serving.transport.interceptor import interceptor_of
from cvserve.serving.transport.ports import Ports, import_ports, naming_the_extra
from cvserve.serving.transport.protocol import Endpoints, Host, Protocol

if TYPE_CHECKING:
    from cvserve.serving.transport.http.server import HttpServer

PROTOCOLS: tuple[Protocol, ...] = (
    tensorflow_serving.PROTOCOL,
    vision.PROTOCOL,
)
"""The protocols of every server. Over HTTP the first one with the prefix of a path answers."""

FLUSH_SECONDS = 1.0
"""Seconds after the last answer, for its bytes to be sent and for watchers of the health service to be ended."""

THREADS = 2
"""Number of threads for large JSON and similar work. With two, one large body does not block the next one, and hundreds
of bodies do not fill the memory."""


def load(directory: Path, settings: ModelSettings, protocols: Sequence[Protocol] = PROTOCOLS) -> LoadedModel:
    """Opens and warms a version, with the warm-up requests that protocols record. See `loading.load`."""
    replays = [protocol.warm_up for protocol in protocols if protocol.warm_up is not None]
    return loading.load(directory, settings, warm_ups=replays)


class Server:
    """Serves the models of one repository, on the running event loop.

    Example:
        async with Server("models/", ServerSettings(port=0)) as server:
            print(server.port)
    """

    def __init__(
        self,
        path: str | Path | None,
        settings: ServerSettings | None = None,
        *,
        models: Sequence[ModelConfig] | None = None,
        load_model: LoadModel | None = None,
        report: Callable[[str], None] = lambda line: None,
        observer: Observer | None = None,
        protocols: Sequence[Protocol] = PROTOCOLS,
    ) -> None:
        """
        Args:
            path: a repository of models, a model's directory, or a version's; None with `models`.
            models: these models, wherever they are, instead of those at `path`. Requests with a new list of models may
                name other directories beside theirs.
            load_model: opens a version directory; by default `load`.
            report: gets a line for each model that is loaded or broken.
            observer: gets requests and changes of versions, as the server's own `metrics` do.
            protocols: the protocols that the server offers.
        """
        self.settings = settings or ServerSettings()
        if path is None and models is None:
            raise InvalidInput("give a path to serve, or the models")
        self._path = None if path is None else Path(path)
        self._models = models
        self._protocols = tuple(protocols)
        self._load_model = load_model or functools.partial(load, protocols=self._protocols)
        self._lines = StatusLines(report)
        self._ready = False
        self._freeze = CollectorFreeze()
        require("prometheus_client")
        from cvserve.serving.observability.metrics import Metrics

        self.metrics = Metrics()
        self._observer = self.metrics if observer is None else Observers([self.metrics, observer])
        self._threads = ThreadPoolExecutor(THREADS, "http")
        self.endpoints: tuple[Endpoints, ...] = ()
        """The services and routes of the protocols on this server, in the order of the protocols."""
        self._ports: Ports | None = None
        self.cut_off = 0
        """The number of accepted requests that the last drain left unanswered."""

    @property
    def port(self) -> int:
        """Returns the gRPC port; 0 where there is a UNIX socket only."""
        return self._ports.port if self._ports is not None else 0

    @property
    def http(self) -> HttpServer | None:
        """Returns the HTTP port, once it listens; None where there is none."""
        return self._ports.http if self._ports is not None else None

    @property
    def address(self) -> str:
        """Returns the gRPC address, as a client would write it."""
        if self.settings.port < 0:
            return f"unix:{self.settings.unix_socket}"
        return f"{self.settings.host}:{self.port}"

    @property
    def http_address(self) -> str | None:
        """Returns the HTTP address, as a client would write it; None if there is no HTTP port."""
        if self.http is None:
            return None
        scheme = "https" if self.settings.tls is not None and self.settings.tls.http else "http"
        return f"{scheme}://{self.settings.host}:{self.http.port}"

    @property
    def in_flight(self) -> int:
        """Returns the number of accepted requests that are not answered yet."""
        return self.engine.in_flight if hasattr(self, "engine") else 0

    async def start(self) -> None:
        """Listens, loads the models and warms them; returns when all have been tried.

        While they load, the server already answers: requests get UNAVAILABLE, health is NOT_SERVING. A model that
        cannot be loaded is reported in its status, and does not stop the others.

        Raises:
            NotFound: no model there. InvalidInput: the port is in use, a setting does not fit.
            CvserveError: not one model could be loaded.
        """
        repository = None if self._path is None else Repository(self._path, self.settings)
        configs = list(self._models or ()) if repository is None else repository.configs()
        self.settings.check_names([config.name for config in configs])
        self.interceptor = interceptor_of(self.settings, self._observer)
        self._ports = ports = Ports(self.settings, self.interceptor)
        try:
            await self._serve(ports, repository, configs)
        except BaseException:
            await ports.stop()
            raise

    async def _serve(self, ports: Ports, repository: Repository | None, configs: list[ModelConfig]) -> None:
        await asyncio.get_running_loop().run_in_executor(None, import_ports)
        self._freeze.update()
        self.engine = Engine(
            self.settings,
            load_model=self._load_model,
            on_change=self._changed,
            observer=self._observer,
            repository=repository,
            roots=[repository.path] if repository else [config.base_path.parent for config in configs],
            on_import=self._freeze.update,
        )
        self.watcher = Watcher(self.engine.reconciler.begin_poll, self.settings.poll_seconds)
        self._open_protocols(ports)
        self.health.starting()
        await self.engine.reconciler.announce(configs)
        await ports.start()
        await self.engine.reconciler.start()
        statuses = self.engine.manager.all_status()
        if configs and not any(status.state is State.AVAILABLE for status in statuses):
            await self.engine.close()
            errors = [status.error for status in statuses if status.error is not None]
            raise errors[0] if errors else NotFound("no model has a version on disk that its policy wants")
        self.watcher.start()
        self._ready = True
        # From now on a garbage collection would make requests wait.
        self._freeze.collect = False
        self._refresh()

    def _open_protocols(self, ports: Ports) -> None:
        """Adds the endpoints of the protocols to the ports, and their metrics to those of the server."""
        host = Host(self.engine, self.settings, self.metrics.registry, self._threads)
        with naming_the_extra():
            self.endpoints = tuple(protocol.open(host) for protocol in self._protocols)
        for endpoints in self.endpoints:
            if endpoints.metrics is not None:
                self.metrics.add(endpoints.metrics)
        self.health = ports.open(
            self.endpoints,
            self.engine,
            threads=self._threads,
            metrics=self.metrics.text,
            not_ready=self._why_not_ready,
        )

    async def drain(self, grace: float | None = None) -> bool:
        """Sets health to NOT_SERVING, refuses new requests with UNAVAILABLE, lets accepted ones finish, and closes the
        ports.

        Args:
            grace: the seconds that accepted requests may take; by default those of the settings.

        Returns:
            Whether all of them were answered in that time.
        """
        grace = self.settings.grace_seconds if grace is None else grace
        ends_at = asyncio.get_running_loop().time() + grace
        self._ready = False
        await self.watcher.stop()
        self.health.draining()
        for endpoints in self.endpoints:
            endpoints.on_drain()
        if self._ports is not None:
            self._ports.drain()
        try:
            await asyncio.wait_for(self.engine.drain(), grace)
        except asyncio.TimeoutError:
            self.cut_off = self.engine.in_flight
            await self._stop_ports(0)
            return False
        self.health.close()
        await self._stop_ports(FLUSH_SECONDS)
        # Every request is answered, but a graph may still be at work on one whose deadline has passed.
        closing = asyncio.ensure_future(self.engine.close())
        await asyncio.get_running_loop().run_in_executor(None, self.interceptor.close)
        remaining = max(ends_at - asyncio.get_running_loop().time(), FLUSH_SECONDS)
        await asyncio.wait([closing], timeout=remaining)
        return closing.done()

    async def __aenter__(self) -> Server:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.drain()

    def describe(self) -> list[str]:
        """Returns a line for each model that is available."""
        return describe(self.engine.manager)

    def _why_not_ready(self) -> str:
        if self._ready and not self.health.serving:
            lost = any(status.lost is not None for status in self.engine.manager.all_status())
            return "a device is lost" if lost else "no model is served"
        return "" if self._ready else "loading"

    async def _stop_ports(self, seconds: float) -> None:
        if self._ports is not None:
            await self._ports.stop(seconds)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _changed(self, status: VersionStatus) -> None:
        self._lines.changed(status, self._ready)
        self._refresh()

    def _refresh(self) -> None:
        statuses = self.engine.manager.all_status()
        answers = any(status.state is State.AVAILABLE for status in statuses)
        self.health.update(statuses, self._ready and (answers or self.engine.reconciler.is_empty_on_purpose))
