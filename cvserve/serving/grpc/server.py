"""One gRPC port with every service on it, from start to drained."""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import TracebackType

import grpc

from cvserve.errors import CvserveError, InvalidInput, Unavailable
from cvserve.extras import require
from cvserve.serving.core import repository
from cvserve.serving.core.config import ServerSettings
from cvserve.serving.core.engine import Engine, LoadModel
from cvserve.serving.core.loading import load
from cvserve.serving.core.manager import State, VersionStatus

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
        path: str | Path,
        settings: ServerSettings | None = None,
        *,
        load_model: LoadModel = load,
        report: Callable[[str], None] = lambda line: None,
    ) -> None:
        """
        Args:
            path: a repository of models, a model's directory, or a version's.
            load_model: opens a version directory; replaced in tests.
            report: given a line for each model that is loaded or broken.
        """
        self.settings = settings or ServerSettings()
        self._path = Path(path)
        self._load_model = load_model
        self._report = report
        self._ready = False
        self._refreshes: set[asyncio.Task[None]] = set()
        self.port = 0
        self.cut_off = 0
        """How many accepted requests the last drain left unanswered."""

    @property
    def address(self) -> str:
        """Where it listens, as a client would write it."""
        return f"{self.settings.host}:{self.port}"

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
        sources = repository.find(self._path)
        _check_names(self.settings, [source.name for source in sources])
        self._server = self._listen()
        try:
            await self._serve(sources)
        except BaseException:
            await self._server.stop(None)
            raise

    async def _serve(self, sources: list[repository.ModelVersion]) -> None:
        loop = asyncio.get_running_loop()
        # Their messages import TensorFlow, which takes seconds.
        await loop.run_in_executor(None, _import_services)
        # TensorFlow's modules are half a million objects, which every full garbage collection would walk through: a
        # third of the loop's time under load. Nothing that is loaded now will ever be garbage.
        gc.collect()
        gc.freeze()
        from cvserve.serving.grpc.health import Health

        self.health = Health()
        self.engine = Engine(self.settings, load_model=self._load_model, on_change=self._changed)
        self._register()
        await self.health.starting()
        await self._server.start()
        for source in sources:
            self.engine.manager.announce(source)
        statuses = [await self._load(source) for source in sources]
        errors = [status.error for status in statuses if status.error is not None]
        if len(errors) == len(statuses):
            await self.engine.close()
            raise errors[0]
        self._ready = True
        await self._refresh()

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
        await self.health.draining()
        try:
            await asyncio.wait_for(self.engine.drain(), grace)
        except asyncio.TimeoutError:
            self.cut_off = self.engine.in_flight
            await self._server.stop(0)
            return False
        await self._server.stop(FLUSH_SECONDS)
        # Every request is answered, but a graph may still be at work on one whose deadline has passed.
        closing = asyncio.ensure_future(self.engine.close())
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

    def _listen(self) -> grpc.aio.Server:
        settings = self.settings
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", settings.max_message_bytes),
                ("grpc.max_send_message_length", settings.max_message_bytes),
                # Otherwise a second server on the same port would silently share it.
                ("grpc.so_reuseport", 0),
                # Clients may ping as often as every ten seconds, also between calls, to keep their way open through
                # routers; the server itself looks after a minute of silence whether the client is still there.
                ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.keepalive_time_ms", 60_000),
                ("grpc.keepalive_timeout_ms", 20_000),
                # A picture is a hundred kilobytes: one frame and few reads of it rather than a dozen of each.
                ("grpc.http2.max_frame_size", 4 << 20),
                ("grpc.http2.lookahead_bytes", 4 << 20),
                ("grpc.experimental.tcp_min_read_chunk_size", 128 << 10),
                ("grpc.experimental.tcp_read_chunk_size", 256 << 10),
                ("grpc.experimental.tcp_max_read_chunk_size", 4 << 20),
            ]
        )
        target = f"{settings.host}:{settings.port}"
        try:
            self.port = server.add_insecure_port(target)
        except RuntimeError as error:
            raise InvalidInput(f"cannot listen on {target}: {_why(settings.host, settings.port)}") from error
        return server

    def _register(self) -> None:
        from grpc_health.v1 import health_pb2_grpc
        from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

        from cvserve.protos import vision_pb2_grpc
        from cvserve.serving.grpc import reflection
        from cvserve.serving.grpc.model_service import ModelService
        from cvserve.serving.grpc.prediction_service import PredictionService
        from cvserve.serving.grpc.vision_service import VisionService

        server, engine = self._server, self.engine
        prediction = PredictionService(engine, self.settings.max_message_bytes)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(prediction, server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(engine), server)
        vision_pb2_grpc.add_VisionServiceServicer_to_server(VisionService(engine), server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health.servicer, server)
        reflection.enable(server)

    async def _load(self, source: repository.ModelVersion) -> VersionStatus:
        status = await self.engine.manager.load(source)
        if status.error is not None:
            self._report(f"{status.name} version {status.version} cannot be served: {status.error}")
        return status

    def _changed(self, status: VersionStatus) -> None:
        task = asyncio.get_running_loop().create_task(self._refresh())
        # The loop keeps only weak references to tasks.
        self._refreshes.add(task)
        task.add_done_callback(self._refreshes.discard)

    async def _refresh(self) -> None:
        await self.health.update(self.engine.manager.all_status(), self._ready)


def _import_services() -> None:
    for module in ("grpc_health.v1", "grpc_reflection.v1alpha"):
        require(module)
    try:
        from cvserve.runtimes.tensorflow import import_tensorflow

        import_tensorflow()
        require("tensorflow_serving.apis")
        import_module("cvserve.serving.grpc.prediction_service")
    except ModuleNotFoundError as error:
        if isinstance(error, CvserveError):
            raise
        raise Unavailable(f"{error.name} is missing: pip install 'cvserve[serve]'") from error


def _check_names(settings: ServerSettings, names: list[str]) -> None:
    from cvserve.settings import nearest

    for name in settings.models:
        if name not in names:
            raise InvalidInput(f"the settings name a model {name!r} that is not there{nearest(name, names)}")


def _why(host: str, port: int) -> str:
    """What the system says about the address, since gRPC keeps it to itself."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return "the port is in use; choose another one with --port"
        return error.strerror or str(error)
    return "the address cannot be used"
