"""What the server tells of itself: the seam between the core, which reports, and metrics or traces, which listen.

The core knows no metrics library. It calls an `Observer`, whose methods do nothing;
`cvserve.serving.observability.Metrics`
and `cvserve.serving.observability.tracing.Tracer` override them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Literal

Stage = Literal["decode", "queue", "run", "postprocess"]
"""The parts of a request's time: an image from bytes to pixels; waiting for an instance; the graph; its outputs to a
result. What is left of the request's time is the protocol's."""


ReportStage = Callable[[Stage, float, float], None]
"""Given a stage of one request and when it began and ended, in the time of time.monotonic(), on any thread."""

TRACE: ContextVar[ReportStage | None] = ContextVar("cvserve_traced", default=None)
"""Who is told the stages of the very request that this task works on: nobody, unless it is traced."""


class Observer:
    """Is told what happens. Every method may be called on any thread, returns quickly and raises nothing.

    model: as the client named it for requests, which may be a name that is not there. seconds: of wall time.
    """

    def request(self, api: str, model: str, version: int | None, code: str, seconds: float) -> None:
        """A request was answered, by an edge.

        Args:
            api: the method, with "REST " in front for HTTP: "Predict", "Classify", "REST predict".
            version: that answered, where the edge knows it.
            code: the name of the gRPC status: "OK", "INVALID_ARGUMENT", ...
        """

    def stage(self, model: str, version: int, stage: Stage, seconds: float) -> None:
        """A stage of one request ended; of a request in several pieces, or with several images, each of them.
        "run" is told once for each batch, since its requests share it."""

    def batch(self, model: str, version: int, rows: int, padded: int) -> None:
        """A batch begins to run. rows: of requests. padded: rows that the graph gets, with those added."""

    def rejected(self, model: str, reason: str) -> None:
        """A request was refused or given up. reason: "queue full", "hopeless", "decode full", "expired", "cancelled",
        "unauthenticated", "permission"."""

    def queue(self, model: str, version: int, waiting: int) -> None:
        """How many requests of a version wait for an instance now; told when that changes."""

    def state(self, model: str, version: int, state: str) -> None:
        """A version changed its state: "START", "LOADING", "AVAILABLE", "UNLOADING", "END"."""

    def loaded(self, model: str, version: int, seconds: float) -> None:
        """A version was opened and warmed in that time."""


class VersionReport:
    """The reports on one version, for what belongs to it."""

    __slots__ = ("_model", "_observer", "_version")

    def __init__(self, observer: Observer, model: str, version: int) -> None:
        self._observer, self._model, self._version = observer, model, version

    def stage(self, stage: Stage, seconds: float) -> None:
        self._observer.stage(self._model, self._version, stage, seconds)

    def batch(self, rows: int, padded: int) -> None:
        self._observer.batch(self._model, self._version, rows, padded)

    def queue(self, waiting: int) -> None:
        self._observer.queue(self._model, self._version, waiting)

    def rejected(self, reason: str) -> None:
        self._observer.rejected(self._model, reason)


UNOBSERVED = VersionReport(Observer(), "", 0)
"""Tells nobody."""


class Observers(Observer):
    """Tells several observers."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)

    def request(self, api: str, model: str, version: int | None, code: str, seconds: float) -> None:
        for observer in self._observers:
            observer.request(api, model, version, code, seconds)

    def stage(self, model: str, version: int, stage: Stage, seconds: float) -> None:
        for observer in self._observers:
            observer.stage(model, version, stage, seconds)

    def batch(self, model: str, version: int, rows: int, padded: int) -> None:
        for observer in self._observers:
            observer.batch(model, version, rows, padded)

    def rejected(self, model: str, reason: str) -> None:
        for observer in self._observers:
            observer.rejected(model, reason)

    def queue(self, model: str, version: int, waiting: int) -> None:
        for observer in self._observers:
            observer.queue(model, version, waiting)

    def state(self, model: str, version: int, state: str) -> None:
        for observer in self._observers:
            observer.state(model, version, state)

    def loaded(self, model: str, version: int, seconds: float) -> None:
        for observer in self._observers:
            observer.loaded(model, version, seconds)
