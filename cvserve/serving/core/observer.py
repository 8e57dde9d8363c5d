"""Reports what happens to requests and versions, for metrics and traces.

The core imports no metrics library. It calls an `Observer`, whose methods do nothing; metrics and traces override them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Literal

Stage = Literal["decode", "queue", "run", "postprocess"]
"""The stages of a request: decoding an image, waiting for an instance, running the graph, converting its outputs to a
result. The rest of the request's time is spent in the protocol."""


ReportStage = Callable[[Stage, float, float], None]
"""Takes a stage of one request and when it began and ended, in the time of time.monotonic(). Called on any thread."""

TRACE: ContextVar[ReportStage | None] = ContextVar("cvserve_traced", default=None)
"""Takes the stages of the request that the current task works on; None unless that request is traced."""


class Observer:
    """Records what happens. Every method may be called on any thread, returns quickly and raises nothing.

    model: for requests, the name that the client gave, of which there may be no model. seconds: wall time.
    """

    def request(self, api: str, model: str, version: int | None, code: str, seconds: float) -> None:
        """Records that a protocol has answered a request.

        Args:
            api: the method, with "REST " in front for HTTP: "Predict", "Classify", "REST predict".
            model: the name that the client gave.
            version: the version that answered, where the protocol knows it.
            code: the name of the gRPC status: "OK", "INVALID_ARGUMENT", ...
            seconds: from the request to its answer.
        """

    def stage(self, model: str, version: int, stage: Stage, seconds: float) -> None:
        """Records that a stage of a request ended. For a request in several pieces or with several images it is called
        for each of them. "run" is recorded once for each batch, since its requests share it."""

    def batch(self, model: str, version: int, rows: int, padded: int) -> None:
        """Records that a batch begins to run. rows: those of requests. padded: those that the graph gets, with
        padding."""

    def rejected(self, model: str, reason: str) -> None:
        """Records that a request was refused or cancelled. reason: "queue full", "hopeless" (its deadline cannot be
        met), "decode full", "expired", "cancelled", "unauthenticated", "permission"."""

    def queue(self, model: str, version: int, waiting: int) -> None:
        """Records how many requests of a version wait for an instance now, whenever that changes."""

    def state(self, model: str, version: int, state: str) -> None:
        """Records that a version changed its state: "START", "LOADING", "AVAILABLE", "UNLOADING", "END"."""

    def loaded(self, model: str, version: int, seconds: float) -> None:
        """Records that a version was opened and warmed in that time."""


class VersionReport:
    """Reports to an observer what happens to one version."""

    __slots__ = ("_model", "_observer", "_version")

    def __init__(self, observer: Observer, model: str, version: int) -> None:
        self._observer, self._model, self._version = observer, model, version

    def stage(self, stage: Stage, seconds: float) -> None:
        """See `Observer.stage`."""
        self._observer.stage(self._model, self._version, stage, seconds)

    def batch(self, rows: int, padded: int) -> None:
        """See `Observer.batch`."""
        self._observer.batch(self._model, self._version, rows, padded)

    def queue(self, waiting: int) -> None:
        """See `Observer.queue`."""
        self._observer.queue(self._model, self._version, waiting)

    def rejected(self, reason: str) -> None:
        """See `Observer.rejected`."""
        self._observer.rejected(self._model, reason)


UNOBSERVED = VersionReport(Observer(), "", 0)
"""Reports to no observer."""


class Observers(Observer):
    """Passes every call on to several observers."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)

    def request(self, api: str, model: str, version: int | None, code: str, seconds: float) -> None:
        """See `Observer.request`."""
        for observer in self._observers:
            observer.request(api, model, version, code, seconds)

    def stage(self, model: str, version: int, stage: Stage, seconds: float) -> None:
        """See `Observer.stage`."""
        for observer in self._observers:
            observer.stage(model, version, stage, seconds)

    def batch(self, model: str, version: int, rows: int, padded: int) -> None:
        """See `Observer.batch`."""
        for observer in self._observers:
            observer.batch(model, version, rows, padded)

    def rejected(self, model: str, reason: str) -> None:
        """See `Observer.rejected`."""
        for observer in self._observers:
            observer.rejected(model, reason)

    def queue(self, model: str, version: int, waiting: int) -> None:
        """See `Observer.queue`."""
        for observer in self._observers:
            observer.queue(model, version, waiting)

    def state(self, model: str, version: int, state: str) -> None:
        """See `Observer.state`."""
        for observer in self._observers:
            observer.state(model, version, state)

    def loaded(self, model: str, version: int, seconds: float) -> None:
        """See `Observer.loaded`."""
        for observer in self._observers:
            observer.loaded(model, version, seconds)
