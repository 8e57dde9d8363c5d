"""Counts and measures for Prometheus, as an observer of the core."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import Counter, Gauge, Histogram

from cvserve.serving.core.observer import Observer, Stage
from cvserve.serving.observability.registry import Registry, exponential

OTHER = "(other)"
"""The label of unknown models. Otherwise clients could make a new series with every name that they send."""

KEPT_AFTER_UNLOADING = 8
"""Number of unloaded versions whose series are kept, so that the next scrape still sees their last requests."""

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS = exponential(1, 2, 11)
STATES = ("START", "LOADING", "AVAILABLE", "UNLOADING", "END")


@dataclass(frozen=True)
class _OfVersion:
    """Holds the instruments of one version, looked up once."""

    stages: dict[str, Histogram]
    rows: Histogram
    padding: Counter
    waiting: Gauge


@dataclass(frozen=True)
class _OfAnswer:
    """Holds the instruments of one kind of answer."""

    count: Counter
    seconds: Histogram


class ProtocolMetrics(Protocol):
    """Counts for one protocol, with metric names of its own in the server's `Registry`. Thread-safe."""

    def request(self, api: str, model: str, code: str, seconds: float) -> None:
        """Counts an answer. api, code: as in `Observer.request`. model: OTHER for one that is not there."""

    def stage(self, model: str, stage: Stage, seconds: float) -> None:
        """Counts a stage. See `Observer.stage`."""


class Metrics(Observer):
    """Counts for Prometheus. Thread-safe; a request costs about 20 microseconds altogether.

    Example:
        metrics = Metrics()
        server = Server("models/", settings, observer=metrics)
        metrics.text()
    """

    def __init__(self) -> None:
        self.registry = registry = Registry()
        version = ("model", "version")
        self._requests = Counter(
            "cvserve_requests_total", "Answered requests.", ("api", *version, "code"), registry=registry
        )
        self._request_seconds = Histogram(
            "cvserve_request_seconds",
            "From the request to its answer.",
            ("api", "model"),
            buckets=SECONDS,
            registry=registry,
        )
        self._stage_seconds = Histogram(
            "cvserve_stage_seconds",
            "Where the time goes: decode, queue and postprocess for each request, run for each batch.",
            (*version, "stage"),
            buckets=SECONDS,
            registry=registry,
        )
        self._batch_rows = Histogram(
            "cvserve_batch_rows", "Rows of requests in a batch.", version, buckets=ROWS, registry=registry
        )
        self._padding = Counter(
            "cvserve_padding_rows_total", "Rows added to batches to reach a size.", version, registry=registry
        )
        self._waiting = Gauge(
            "cvserve_queue_requests", "Requests that wait for an instance now.", version, registry=registry
        )
        self._rejected = Counter(
            "cvserve_rejected_total", "Requests that were not run, by reason.", ("model", "reason"), registry=registry
        )
        self._state = Gauge(
            "cvserve_model_state", "1 for the state that a version is in.", (*version, "state"), registry=registry
        )
        self._load_seconds = Gauge(
            "cvserve_model_load_seconds", "How long opening and warming took.", version, registry=registry
        )
        self._protocols: tuple[ProtocolMetrics, ...] = ()
        self._answers: dict[tuple[str, str, int | None, str], _OfAnswer] = {}
        self._versions: dict[tuple[str, int], _OfVersion] = {}
        self._models: set[str] = set()
        self._ended: deque[tuple[str, int]] = deque()

    def add(self, metrics: ProtocolMetrics) -> None:
        """Adds the metrics of a protocol, which then get every request and stage."""
        self._protocols = (*self._protocols, metrics)

    def request(self, api: str, model: str, version: int | None, code: str, seconds: float) -> None:
        """Counts an answer. See `Observer.request`."""
        answers = self._answers.get((api, model, version, code))
        if answers is None:
            answers = self._of_answer(api, model, version, code)
        answers.count.inc()
        answers.seconds.observe(seconds)
        for protocol in self._protocols:
            protocol.request(api, self._known(model), code, seconds)

    def stage(self, model: str, version: int, stage: Stage, seconds: float) -> None:
        """Measures a stage. See `Observer.stage`."""
        of = self._versions.get((model, version)) or self._of_version(model, version)
        of.stages[stage].observe(seconds)
        for protocol in self._protocols:
            protocol.stage(model, stage, seconds)

    def batch(self, model: str, version: int, rows: int, padded: int) -> None:
        """Counts the rows of a batch. See `Observer.batch`."""
        of = self._versions.get((model, version)) or self._of_version(model, version)
        of.rows.observe(rows)
        if padded > rows:
            of.padding.inc(padded - rows)

    def rejected(self, model: str, reason: str) -> None:
        """Counts a request that was not run. See `Observer.rejected`."""
        self._rejected.labels(self._known(model), reason).inc()

    def queue(self, model: str, version: int, waiting: int) -> None:
        """Sets the number of requests that wait. See `Observer.queue`."""
        of = self._versions.get((model, version)) or self._of_version(model, version)
        of.waiting.set(waiting)

    def state(self, model: str, version: int, state: str) -> None:
        """Sets the state of a version; some time after its end its series are removed. See `Observer.state`."""
        self._models.add(model)
        for name in STATES:
            self._state.labels(model, str(version), name).set(name == state)
        if state == "END":
            self._ended.append((model, version))
            if len(self._ended) > KEPT_AFTER_UNLOADING:
                self._forget(*self._ended.popleft())
        elif (model, version) in self._ended:
            self._ended.remove((model, version))

    def loaded(self, model: str, version: int, seconds: float) -> None:
        """Sets the seconds that a version took to load. See `Observer.loaded`."""
        self._load_seconds.labels(model, str(version)).set(seconds)

    def text(self) -> bytes:
        """Returns all metrics in Prometheus' text format, with those of the protocols and of the process."""
        return self.registry.text()

    def _known(self, model: str) -> str:
        return model if model in self._models else OTHER

    def _of_answer(self, api: str, model: str, version: int | None, code: str) -> _OfAnswer:
        name = self._known(model)
        answers = _OfAnswer(
            self._requests.labels(api, name, "" if version is None else str(version), code),
            self._request_seconds.labels(api, name),
        )
        # Unknown names are not cached: a model of that name may be added, and there may be any number of them.
        if name == model:
            self._answers[api, model, version, code] = answers
        return answers

    def _of_version(self, model: str, version: int) -> _OfVersion:
        number = str(version)
        stages: tuple[Stage, ...] = ("decode", "queue", "run", "postprocess")
        of = _OfVersion(
            {stage: self._stage_seconds.labels(model, number, stage) for stage in stages},
            self._batch_rows.labels(model, number),
            self._padding.labels(model, number),
            self._waiting.labels(model, number),
        )
        return self._versions.setdefault((model, version), of)

    def _forget(self, model: str, version: int) -> None:
        for family in (
            self._requests,
            self._stage_seconds,
            self._batch_rows,
            self._padding,
            self._waiting,
            self._state,
            self._load_seconds,
        ):
            family.remove_by_labels({"model": model, "version": str(version)})
        self._versions.pop((model, version), None)
        for key in [key for key in list(self._answers) if key[1:3] == (model, version)]:
            self._answers.pop(key, None)
