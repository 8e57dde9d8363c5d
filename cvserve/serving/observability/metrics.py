"""The metrics for Prometheus: an observer that counts and measures."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cvserve.serving.core.observer import Observer, Stage
from cvserve.serving.observability.instruments import Counter, Family, Gauge, Histogram, exponential
from cvserve.serving.observability.process import process_text

OTHER = "(other)"
"""The label of models that are not there: clients could otherwise make as many series as they invent names."""

KEPT_AFTER_UNLOADING = 8
"""Versions whose series stay after they are unloaded, so that the last scrape still sees their last requests."""

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
    """Metrics of one protocol, under names of its own beside those of the server. Thread-safe."""

    @property
    def families(self) -> Sequence[Family[Any]]:
        """Returns all its instruments."""

    def request(self, api: str, model: str, code: str, seconds: float) -> None:
        """Counts an answer. api, code: as in `Observer.request`. model: OTHER for one that is not there."""

    def stage(self, model: str, stage: Stage, seconds: float) -> None:
        """Counts a stage. See `Observer.stage`."""


class Metrics(Observer):
    """Counts for Prometheus. Thread-safe; a request costs about five microseconds altogether.

    Example:
        metrics = Metrics()
        server = Server("models/", settings, observer=metrics)
        metrics.text()
    """

    def __init__(self) -> None:
        version = ("model", "version")
        self._requests = Family(
            "cvserve_requests_total", "counter", "Answered requests.", ("api", *version, "code"), Counter
        )
        self._request_seconds = Family(
            "cvserve_request_seconds", "histogram", "From the request to its answer.", ("api", "model"), _seconds
        )
        self._stage_seconds = Family(
            "cvserve_stage_seconds",
            "histogram",
            "Where the time goes: decode, queue and postprocess for each request, run for each batch.",
            (*version, "stage"),
            _seconds,
        )
        self._batch_rows = Family(
            "cvserve_batch_rows", "histogram", "Rows of requests in a batch.", version, lambda: Histogram(ROWS)
        )
        self._padding = Family(
            "cvserve_padding_rows_total", "counter", "Rows added to batches to reach a size.", version, Counter
        )
        self._waiting = Family(
            "cvserve_queue_requests", "gauge", "Requests that wait for an instance now.", version, Gauge
        )
        self._rejected = Family(
            "cvserve_rejected_total", "counter", "Requests that were not run, by reason.", ("model", "reason"), Counter
        )
        self._state = Family(
            "cvserve_model_state", "gauge", "1 for the state that a version is in.", (*version, "state"), Gauge
        )
        self._load_seconds = Family(
            "cvserve_model_load_seconds", "gauge", "How long opening and warming took.", version, Gauge
        )
        self._protocols: tuple[ProtocolMetrics, ...] = ()
        self._answers: dict[tuple[str, str, int | None, str], _OfAnswer] = {}
        self._versions: dict[tuple[str, int], _OfVersion] = {}
        self._models: set[str] = set()
        self._ended: deque[tuple[str, int]] = deque()

    def add(self, metrics: ProtocolMetrics) -> None:
        """Adds the metrics of a protocol, which then hear of every request and stage."""
        self._protocols = (*self._protocols, metrics)

    def request(self, api: str, model: str, version: int | None, code: str, seconds: float) -> None:
        answers = self._answers.get((api, model, version, code))
        if answers is None:
            answers = self._of_answer(api, model, version, code)
        answers.count.add()
        answers.seconds.observe(seconds)
        for protocol in self._protocols:
            protocol.request(api, self._known(model), code, seconds)

    def stage(self, model: str, version: int, stage: Stage, seconds: float) -> None:
        of = self._versions.get((model, version)) or self._of_version(model, version)
        of.stages[stage].observe(seconds)
        for protocol in self._protocols:
            protocol.stage(model, stage, seconds)

    def batch(self, model: str, version: int, rows: int, padded: int) -> None:
        of = self._versions.get((model, version)) or self._of_version(model, version)
        of.rows.observe(rows)
        if padded > rows:
            of.padding.add(padded - rows)

    def rejected(self, model: str, reason: str) -> None:
        self._rejected.of(self._known(model), reason).add()

    def queue(self, model: str, version: int, waiting: int) -> None:
        of = self._versions.get((model, version)) or self._of_version(model, version)
        of.waiting.value = waiting

    def state(self, model: str, version: int, state: str) -> None:
        self._models.add(model)
        for name in STATES:
            self._state.of(model, str(version), name).value = float(name == state)
        if state == "END":
            self._ended.append((model, version))
            if len(self._ended) > KEPT_AFTER_UNLOADING:
                self._forget(*self._ended.popleft())
        elif (model, version) in self._ended:
            self._ended.remove((model, version))

    def loaded(self, model: str, version: int, seconds: float) -> None:
        self._load_seconds.of(model, str(version)).value = seconds

    def text(self) -> bytes:
        """Returns all metrics in Prometheus' text format, UTF-8.

        Those of the process are among them where prometheus-client is installed.
        """
        families: tuple[Family[Any], ...] = (
            self._requests,
            self._request_seconds,
            self._stage_seconds,
            self._batch_rows,
            self._padding,
            self._waiting,
            self._rejected,
            self._state,
            self._load_seconds,
            *(family for protocol in self._protocols for family in protocol.families),
        )
        lines = [line for family in families for line in family.lines()]
        return ("\n".join(lines) + "\n").encode(errors="backslashreplace") + process_text()

    def _known(self, model: str) -> str:
        return model if model in self._models else OTHER

    def _of_answer(self, api: str, model: str, version: int | None, code: str) -> _OfAnswer:
        name = self._known(model)
        answers = _OfAnswer(
            self._requests.of(api, name, "" if version is None else str(version), code),
            self._request_seconds.of(api, name),
        )
        # A name that is not there is looked up again each time: it may come, and there is no end of such names.
        if name == model:
            self._answers[api, model, version, code] = answers
        return answers

    def _of_version(self, model: str, version: int) -> _OfVersion:
        number = str(version)
        stages: tuple[Stage, ...] = ("decode", "queue", "run", "postprocess")
        of = _OfVersion(
            {stage: self._stage_seconds.of(model, number, stage) for stage in stages},
            self._batch_rows.of(model, number),
            self._padding.of(model, number),
            self._waiting.of(model, number),
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
            family.drop(model=model, version=str(version))
        self._versions.pop((model, version), None)
        for key in [key for key in list(self._answers) if key[1:3] == (model, version)]:
            self._answers.pop(key, None)


def _seconds() -> Histogram:
    return Histogram(SECONDS)
