"""The plan of a measurement, and its results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from cvserve.bench.baseline import CallPlan
from cvserve.errors import InvalidInput

CONCURRENCY = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class BenchPlan:
    """Describes what is measured, and for how long.

    concurrency: numbers of clients, ascending. rounds: everything is measured once in each; the medians count.
    seconds: of one measurement in a round. batches: the sizes that are tried in process. overload_seconds: how long
    `overload_factor` times the best rate is offered, with a deadline of `overload_deadline` seconds a request; 0
    leaves it out. idle_seconds: how long the idle server is watched; 0 leaves it out. client: "grpc"; "light" is the
    same, for plans of earlier versions.
    """

    concurrency: tuple[int, ...] = CONCURRENCY
    rounds: int = 3
    seconds: float = 3.0
    warm_seconds: float = 1.0
    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    overload_seconds: float = 10.0
    overload_factor: float = 3.0
    overload_deadline: float = 1.0
    idle_seconds: float = 5.0
    client: Literal["light", "grpc"] = "grpc"

    def __post_init__(self) -> None:
        if not self.concurrency or min(self.concurrency) < 1:
            raise InvalidInput(f"the numbers of clients must be at least 1, not {list(self.concurrency)}")
        if self.rounds < 1 or self.seconds <= 0 or not self.batches or min(self.batches) < 1:
            raise InvalidInput("a bench needs at least one round, some time and a batch size of at least 1")


@dataclass(frozen=True)
class BaselineFigures:
    """Holds the figures of the pipeline in process, with the best plan. rate: images per second. cpu_ms: processor time
    per image."""

    call_plan: CallPlan
    rate: float
    cpu_ms: float


@dataclass(frozen=True)
class Point:
    """Holds the figures of a server with `clients` clients, each of which waits for its answer before its next request.

    rate: answers per second. p50, p95, p99: milliseconds. server_cpu_ms, client_cpu_ms: processor time per image.
    to_baseline: the rate divided by the baseline's, as the median of the ratios of the rounds, so that a slow round has
    no effect. parts: the server's processor milliseconds per image by part (`cvserve.bench.processes.PARTS`); empty
    where they are not known.
    """

    clients: int
    rate: float
    p50: float
    p95: float
    p99: float
    server_cpu_ms: float
    client_cpu_ms: float
    to_baseline: float
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Lone:
    """Holds the figures of one image at a time. pipeline_ms, served_ms: medians. ratio: served to pipeline, the median
    of the rounds."""

    pipeline_ms: float
    served_ms: float
    ratio: float


@dataclass(frozen=True)
class Overload:
    """Holds the figures of a server that gets more requests than it can answer. Rates per second, times in
    milliseconds; None for a figure without any such answer.

    to_capacity: good answers per second, divided by the best rate measured. lone_ms: one request right afterwards.
    """

    offered: float
    good: float
    to_capacity: float
    p50: float | None
    p95: float | None
    p99: float | None
    rejects: int
    reject_p50: float | None
    reject_p99: float | None
    codes: Mapping[str, int]
    lone_ms: float


@dataclass(frozen=True)
class Served:
    """Holds the results of one server. stages: mean milliseconds of each stage under load, where the server reports
    them.
    idle_percent: processor time without requests, in percent of one core."""

    settings: Mapping[str, Any]
    lines: tuple[str, ...]
    points: tuple[Point, ...]
    memory_mib: float
    lone: Lone | None = None
    overload: Overload | None = None
    idle_percent: float | None = None
    stages: Mapping[str, float] = field(default_factory=dict)

    @property
    def best(self) -> Point:
        """Returns the results at the number of clients with the best rate."""
        return max(self.points, key=lambda point: point.rate)


@dataclass(frozen=True)
class BenchResult:
    """Holds the results of a whole run.

    stages: median milliseconds of a single image in the pipeline. screened: images per second of every plan that was
    tried in process. graph: images per second of the graph alone, by batch size, with one caller for each core.
    """

    model: str
    version: int
    runtime: str
    cores: int
    plan: BenchPlan
    baseline: BaselineFigures
    stages: Mapping[str, float]
    screened: Mapping[str, float]
    graph: Mapping[int, float]
    servers: Mapping[str, Served]

    def to_json(self) -> dict[str, Any]:
        """Returns plain values for json.dumps."""
        return {"schema": 1, **asdict(self, dict_factory=_with_json_keys)}


_JSON_KEYS = {"baseline": "ceiling", "call_plan": "layout", "to_baseline": "to_ceiling"}
"""The names of fields in JSON, where they differ."""


def _with_json_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {_JSON_KEYS.get(name, name): value for name, value in pairs}
