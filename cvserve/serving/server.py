"""One gRPC port with every service on it, from start to drained."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from cvserve.errors import CvserveError, InvalidInput, NotFound, Unavailable
from cvserve.extras import require, telling
from cvserve.serving.core.engine import Engine, LoadModel
from cvserve.serving.core.loaded_model import LoadedModel
from cvserve.serving.core.loading import load
from cvserve.serving.core.manager import State, VersionStatus
from cvserve.serving.core.memory import Lasting
from cvserve.serving.core.model_config import ModelConfig
from cvserve.serving.core.observer import Observer, Observers
from cvserve.serving.core.repository import Repository
from cvserve.serving.core.watcher import Watcher
from cvserve.serving.observability import Metrics
from cvserve.serving.operations import open_gate
from cvserve.serving.settings import ModelSettings, ServerSettings
from cvserve.serving.transport.grpc.listening import listen
from cvserve.serving.transport.http.listening import bind, http_port

if TYPE_CHECKING:
    from cvserve.serving.transport.http.server import HttpServer

FLUSH_SECONDS = 1.0
"""After the last answer: for its bytes to leave, and for watchers of the health service to be cut off."""


class Server:
    """The server of one repository, on the running event loop.

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
        load_model: LoadModel = load,
        report: Callable[[str], None] = lambda line: None,
        observer: Observer | None = None,
    ) -> None:
        """
        Args:
            path: a repository of models, a model's directory, or a version's; None with `models`.
            models: these models, wherever they are, instead of those at `path`. Requests that list models anew may
                name directories beside theirs.
            load_model: opens a version directory; replaced in tests.
            report: given a line for each model that is loaded or broken.
            observer: told of what happens, beside the server's own `metrics`.
        """
        self.settings = settings or ServerSettings()
        if path is None and models is None:
            raise InvalidInput("give a path to serve, or the models")
        self._path = None if path is None else Path(path)
        self._models = models
        self._load_model = load_model
        self._report = report
        self._ready = False
        self._lasting = Lasting()
        self._broken: dict[tuple[str, int], str] = {}
        self.metrics = Metrics()
        self._observer = self.metrics if observer is None else Observers([self.metrics, observer])
        self.port = 0
        self.http: HttpServer | None = None
        self.cut_off = 0
        """How many accepted requests the last drain left unanswered."""

    @property
    def address(self) -> str:
        """Where it listens, as a client would write it."""
        if self.settings.port < 0:
            return f"unix:{self.settings.unix_socket}"
        return f"{self.settings.host}:{self.port}"

    @property
    def http_address(self) -> str | None:
        """Where it answers HTTP, as a client would write it; None: nowhere."""
        if self.http is None:
            return None
        scheme = "https" if self.settings.tls is not None and self.settings.tls.http else "http"
        return f"{scheme}://{self.settings.host}:{self.http.port}"

    @property
    def in_flight(self) -> int:
        """Accepted requests that are not answered yet."""
        return self.engine.in_flight if hasattr(self, "engine") else 0

    async def start(self) -> None:
        """Listens, loads the models and warms them; returns when all have been tried.

        While they load, the server already answers: requests get UNAVAILABLE, health says NOT_SERVING. A model that
        cannot be loaded is reported in its status, and does not stop the others.

        Raises:
            NotFound: no model there. InvalidInput: the port is in use, a setting does not fit.
            CvserveError: not one model could be loaded.
        """
        found = None if self._path is None else Repository(self._path, self.settings)
        configs = list(self._models or ()) if found is None else found.configs()
        _check_names(self.settings, [config.name for config in configs])
        self.gate = open_gate(self.settings, self._observer)
        self._server, self.port = listen(self.settings)
        port = http_port(self.settings)
        self._http_socket = None if port is None else bind(self.settings.host, port)
        try:
            await self._serve(found, configs)
        except BaseException:
            await self._server.stop(None)
            if self.http is not None:
                await self.http.stop()
            elif self._http_socket is not None:
                self._http_socket.close()
            raise

    async def _serve(self, found: Repository | None, configs: list[ModelConfig]) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, _import_services)
        self._lasting.keep(collect=True)
        from cvserve.serving.transport.grpc.health import Health

        self.health = Health()
        self.engine = Engine(
            self.settings,
            load_model=self._load,
            on_change=self._changed,
            observer=self._observer,
            repository=found,
            roots=[found.path] if found else [config.base_path.parent for config in configs],
        )
        self.watcher = Watcher(self.engine.lifecycle.begin_poll, self.settings.poll_seconds)
        from cvserve.serving.transport.grpc.services import add_all

        self.vision = add_all(self._server, self.engine, self.gate, self.health, self.settings)
        self.health.starting()
        await self.engine.lifecycle.announce(configs)
        await self._server.start()
        await self._start_http()
        await self.engine.lifecycle.start()
        statuses = self.engine.manager.all_status()
        if configs and not any(status.state is State.AVAILABLE for status in statuses):
            await self.engine.close()
            errors = [status.error for status in statuses if status.error is not None]
            raise errors[0] if errors else NotFound("no model has a version on disk that its policy wants")
        self.watcher.start()
        self._ready = True
        self._refresh()

    async def drain(self, grace: float | None = None) -> bool:
        """Health turns NOT_SERVING, new requests get UNAVAILABLE, accepted ones finish; then the port is closed.

        Args:
            grace: seconds for the accepted ones, by default the settings'.

        Returns:
            Whether all of them were answered in that time.
        """
        grace = self.settings.grace_seconds if grace is None else grace
        ends_at = asyncio.get_running_loop().time() + grace
        self._ready = False
        await self.watcher.stop()
        self.health.draining()
        self.vision.draining()
        if self.http is not None:
            self.http.drain()
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
        await asyncio.get_running_loop().run_in_executor(None, self.gate.close)
        left = max(ends_at - asyncio.get_running_loop().time(), FLUSH_SECONDS)
        await asyncio.wait([closing], timeout=left)
        return closing.done()

    async def __aenter__(self) -> Server:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.drain()

    def describe(self) -> list[str]:
        """A line for each model that is available."""
        manager = self.engine.manager
        lines = []
        for status in manager.all_status():
            if status.state is State.AVAILABLE:
                with manager.acquire(status.name, status.version) as servable:
                    lines.append(f"{status.name} version {status.version}: {servable.model.describe()}")
        return lines

    async def _start_http(self) -> None:
        if self._http_socket is None:
            return
        from cvserve.serving.transport.http.server import HttpServer

        http = HttpServer(
            self.engine,
            self.settings,
            gate=self.gate,
            metrics=self.metrics.text,
            not_ready=self._why_not_ready,
            listening=self._http_socket,
        )
        await http.start()
        self.http = http

    def _why_not_ready(self) -> str:
        if self._ready and not self.health.serving:
            lost = any(status.lost is not None for status in self.engine.manager.all_status())
            return "a device is lost" if lost else "no model is served"
        return "" if self._ready else "loading"

    async def _stop_ports(self, seconds: float) -> None:
        stopping = [self._server.stop(seconds)]
        if self.http is not None:
            stopping.append(self.http.stop(seconds))
        await asyncio.gather(*stopping)

    def _load(self, directory: Path, settings: ModelSettings) -> LoadedModel:
        # TensorFlow may come with the first model that needs it. Once others are served, nobody waits for a collection.
        with telling(lambda: self._lasting.keep(collect=not self._ready)):
            return self._load_model(directory, settings)

    def _changed(self, status: VersionStatus) -> None:
        self._tell(status)
        self._refresh()

    def _tell(self, status: VersionStatus) -> None:
        what, key = f"{status.name} version {status.version}", (status.name, status.version)
        if status.lost is not None:
            self._report(f"{what} has lost its device, and only another process may get it back: {status.lost}")
        elif status.error is not None:
            line = f"{what} cannot be served: {status.error}"
            # Once, however often it is tried again.
            if status.state is State.END and self._broken.get(key) != line:
                self._broken[key] = line
                self._report(line)
        elif status.state in (State.AVAILABLE, State.END):
            self._broken.pop(key, None)
            if self._ready:
                self._report(f"{what} is " + ("served" if status.state is State.AVAILABLE else "unloaded"))

    def _refresh(self) -> None:
        statuses = self.engine.manager.all_status()
        answers = any(status.state is State.AVAILABLE for status in statuses)
        self.health.update(statuses, self._ready and (answers or self.engine.lifecycle.is_empty_on_purpose))


def _import_services() -> None:
    for module in ("grpc_health.v1", "grpc_reflection.v1alpha", "aiohttp"):
        require(module)
    try:
        import_module("cvserve.serving.protocols.tensorflow_serving.prediction_service")
        import_module("cvserve.serving.transport.http.server")
    except ModuleNotFoundError as error:
        if isinstance(error, CvserveError):
            raise
        raise Unavailable(f"{error.name} is missing: pip install 'cvserve[serve]'") from error


def _check_names(settings: ServerSettings, names: list[str]) -> None:
    from cvserve.settings import nearest

    for name in settings.models:
        if name not in names:
            raise InvalidInput(f"the settings name a model {name!r} that is not there{nearest(name, names)}")
