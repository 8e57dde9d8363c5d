"""What is to be measured, and what was: values that go to JSON as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from cvserve.bench.inside import InsideLayout
from cvserve.errors import InvalidInput

CONCURRENCY = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class BenchPlan:
    """How much is measured.

    concurrency: numbers of clients, ascending. rounds: in each of which everything has its turn; medians count.
    seconds: of one measurement in a round. batches: tried in process. overload_seconds: how long `overload_factor`
    times the best rate is offered, with `overload_deadline` seconds a request; 0 leaves it out. idle_seconds: 0 leaves
    it out. client: "light", which leaves the cores to the server, or "grpc", which is grpcio's.
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
    client: Literal["light", "grpc"] = "light"

    def __post_init__(self) -> None:
        if not self.concurrency or min(self.concurrency) < 1:
            raise InvalidInput(f"the numbers of clients must be at least 1, not {list(self.concurrency)}")
        if self.rounds < 1 or self.seconds <= 0 or not self.batches or min(self.batches) < 1:
            raise InvalidInput("a bench needs at least one round, some time and a batch size of at least 1")


@dataclass(frozen=True)
class Ceiling:
    """The pipeline in process, at its best layout. rate: images a second. cpu_ms: processor time an image."""

    layout: InsideLayout
    rate: float
    cpu_ms: float


@dataclass(frozen=True)
class Point:
    """A server asked by `clients` clients.

    p50, p95, p99: milliseconds. server_cpu_ms, client_cpu_ms: processor time an image. to_ceiling: its rate as a part
    of the ceiling's, the middle of the rounds' own ratios, so that what slows a whole round down falls out. parts:
    the server's processor time an image, in milliseconds, by what its threads do (`cvserve.bench.processes.PARTS`);
    empty where that cannot be told.
    """

    clients: int
    rate: float
    p50: float
    p95: float
    p99: float
    server_cpu_ms: float
    client_cpu_ms: float
    to_ceiling: float
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Lone:
    """One image at a time. pipeline_ms, served_ms: medians. ratio: of the rounds, the middle one."""

    pipeline_ms: float
    served_ms: float
    ratio: float


@dataclass(frozen=True)
class Overload:
    """More than the server can do. Rates a second, times in milliseconds; None for what did not happen.

    to_capacity: good answers a second as a part of the best rate seen. lone_ms: one request right afterwards.
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
    """A server and how it did. stages: mean milliseconds of a stage under load, where the server tells them.
    idle_percent: of one core, without requests."""

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
        """The number of clients with the best rate."""
        return max(self.points, key=lambda point: point.rate)


@dataclass(frozen=True)
class BenchResult:
    """The whole run.

    stages: median milliseconds of a lone image in the pipeline. screened: images a second of every layout that was
    tried in process. graph: of the graph alone, by batch size, with a caller a core.
    """

    model: str
    version: int
    runtime: str
    cores: int
    plan: BenchPlan
    ceiling: Ceiling
    stages: Mapping[str, float]
    screened: Mapping[str, float]
    graph: Mapping[int, float]
    servers: Mapping[str, Served]

    def to_json(self) -> dict[str, Any]:
        """Plain values for json.dumps."""
        return {"schema": 1, **asdict(self)}
