"""Settings that serve the most within a latency limit: screened in process, decided by serving."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cvserve import __version__
from cvserve import artifact as artifacts
from cvserve.artifact import Artifact
from cvserve.bench.clients import Clients
from cvserve.bench.images import write_images
from cvserve.bench.inside import Inside, InsideLayout
from cvserve.bench.measuring import Say, asked_name, check_task, inside_layouts, served_name
from cvserve.bench.processes import ServerProcess
from cvserve.errors import FailedPrecondition, InvalidInput
from cvserve.runtimes import usable_runtimes
from cvserve.runtimes.device import usable_cores

RUNS_IN_A_LATENCY = 2.0
"""A request waits for the batch that runs, and then for its own."""

STILL_GROWS = 1.02
"""More clients are tried while they bring more than this; past that they only wait longer."""


@dataclass(frozen=True)
class TunePlan:
    """p99_ms: what 99 of 100 answers may take at most. runtimes: to try; empty: all that can run the model here.

    finalists: how many candidates are served. rounds, seconds: of each of their measurements. screen_seconds: of each
    layout in process.
    """

    p99_ms: float
    runtimes: tuple[str, ...] = ()
    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    concurrency: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    finalists: int = 3
    rounds: int = 2
    seconds: float = 2.0
    warm_seconds: float = 0.5
    screen_seconds: float = 0.5

    def __post_init__(self) -> None:
        if not self.p99_ms > 0:
            raise InvalidInput(f"the limit must be more than 0 ms, not {self.p99_ms}")


@dataclass(frozen=True)
class Candidate:
    """Settings to try. rate: images a second in process."""

    runtime: str
    layout: InsideLayout
    rate: float

    @property
    def batch_ms(self) -> float:
        """What a batch takes while all workers are busy."""
        return self.layout.callers * self.layout.batch / self.rate * 1000

    @property
    def settings(self) -> dict[str, Any]:
        """As the server takes them."""
        return {
            "runtime": self.runtime,
            "instances": self.layout.callers,
            "threads": self.layout.threads,
            "max_batch_size": self.layout.batch,
        }

    def __str__(self) -> str:
        layout = self.layout
        return f"{self.runtime}, {layout.callers} instances x {layout.threads} threads, batches up to {layout.batch}"


@dataclass(frozen=True)
class Tried:
    """A candidate, served to so many clients. rate: images a second. p50, p99: milliseconds."""

    candidate: Candidate
    clients: int
    rate: float
    p50: float
    p99: float


@dataclass(frozen=True)
class TuneResult:
    """best: the largest rate within the limit. settings: of the model, for the server. tried: everything served."""

    model: str
    p99_ms: float
    best: Tried
    settings: Mapping[str, Any]
    tried: tuple[Tried, ...]

    def to_yaml(self) -> str:
        """A settings file for `cvserve serve --config`, with what was measured on top."""
        best = self.best
        head = (
            f"# Written by cvserve tune {__version__}, for p99 within {self.p99_ms:g} ms on {usable_cores()} cores.\n"
            f"# Measured: {best.rate:.0f} images/s at {best.clients} clients, p50 {best.p50:.1f} ms, "
            f"p99 {best.p99:.1f} ms.\n"
        )
        return head + yaml.safe_dump({"models": {self.model: dict(self.settings)}}, sort_keys=False)


def tune(
    path: str | Path,
    plan: TunePlan,
    *,
    version: int | None = None,
    images: str | Path | None = None,
    say: Say = lambda line: None,
) -> TuneResult:
    """Searches runtime, instances, threads, batch and queue for the most images a second within `plan.p99_ms`.

    Args:
        path, version, images, say: as `bench`.

    Raises:
        NotFound, ArtifactError: no such model. InvalidInput: a runtime that cannot run it here.
        FailedPrecondition: nothing keeps within the limit; or a model that does not classify.
    """
    artifact = artifacts.read(path, version)
    check_task(artifact)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "images"
        write_images(folder, images)
        screened = [
            candidate for runtime in _runtimes(artifact, plan) for candidate in _screen(artifact, folder, runtime, plan)
        ]
        finalists = promising(screened, plan.p99_ms, plan.finalists)
        for candidate in finalists:
            say(f"in process: {candidate}: {candidate.rate:.0f}/s, {candidate.batch_ms:.1f} ms a batch")
        servers = {
            candidate: stack.enter_context(ServerProcess(artifact.directory, candidate.settings))
            for candidate in finalists
        }
        clients = Clients(asked_name(artifact), folder)
        stack.callback(clients.close)
        tried = _serve(servers, clients, plan, say)
    best = choose(tried, plan.p99_ms)
    # Whoever would have to wait longer than the limit is told at once.
    bound = max(best.clients, best.candidate.layout.callers * best.candidate.layout.batch)
    return TuneResult(
        served_name(artifact), plan.p99_ms, best, {**best.candidate.settings, "max_queue_requests": bound}, tried
    )


def promising(screened: Iterable[Candidate], p99_ms: float, count: int) -> list[Candidate]:
    """The candidates that are worth serving, best first.

    Of each runtime and layout the batch with the best rate among those whose runs leave room in the limit; where no
    batch of any does, the quickest one of all.
    """
    screened = list(screened)
    possible = [each for each in screened if RUNS_IN_A_LATENCY * each.batch_ms <= p99_ms]
    if not possible:
        return [min(screened, key=lambda each: each.batch_ms)]
    best: dict[tuple[str, int, int], Candidate] = {}
    for each in possible:
        key = (each.runtime, each.layout.callers, each.layout.threads)
        if key not in best or each.rate > best[key].rate:
            best[key] = each
    return sorted(best.values(), key=lambda each: each.rate, reverse=True)[:count]


def choose(tried: Sequence[Tried], p99_ms: float) -> Tried:
    """The largest rate within the limit; of equal rates the quicker.

    Raises:
        FailedPrecondition: nothing is within it.
    """
    within = [each for each in tried if each.p99 <= p99_ms]
    if not within:
        quickest = min(tried, key=lambda each: each.p99)
        raise FailedPrecondition(
            f"nothing keeps p99 within {p99_ms:g} ms here; the quickest is {quickest.p99:.1f} ms at {quickest.clients} "
            f"clients ({quickest.candidate}); raise the limit, or take a smaller model"
        )
    return max(within, key=lambda each: (each.rate, -each.p99))


def _runtimes(artifact: Artifact, plan: TunePlan) -> list[str]:
    usable = usable_runtimes(artifact.manifest)
    for runtime in plan.runtimes:
        if runtime not in usable:
            raise InvalidInput(f"{runtime} cannot run {artifact.directory} here; it is one of {', '.join(usable)}")
    if not usable:
        raise FailedPrecondition(f"nothing installed here can run {artifact.directory}")
    return list(plan.runtimes) or usable


def _screen(artifact: Artifact, images: Path, runtime: str, plan: TunePlan) -> list[Candidate]:
    cores = usable_cores()
    found = []
    for threads in sorted({1, cores}):
        inside = Inside(artifact.directory, images, runtime, None, threads)
        try:
            for layout in inside_layouts(cores, plan.batches):
                if layout.threads == threads:
                    rate = inside.rate(layout, plan.screen_seconds)["rate"]
                    found.append(Candidate(runtime, layout, rate))
        finally:
            inside.close()
    return found


def _serve(servers: Mapping[Candidate, ServerProcess], clients: Clients, plan: TunePlan, say: Say) -> tuple[Tried, ...]:
    """Every candidate with more and more clients, until the limit is broken or nothing is won."""
    tried: list[Tried] = []
    best: dict[Candidate, float] = dict.fromkeys(servers, 0.0)
    going = list(servers)
    for count in plan.concurrency:
        figures: dict[Candidate, list[dict[str, float]]] = {candidate: [] for candidate in going}
        for _ in range(plan.rounds):
            for candidate in going:
                target = servers[candidate].target
                figures[candidate].append(clients.waiting(target, count, plan.seconds, plan.warm_seconds))
        for candidate in list(going):
            p50, p99, rate = (
                statistics.median(figure[key] for figure in figures[candidate]) for key in ("p50", "p99", "rate")
            )
            tried.append(Tried(candidate, count, rate, p50, p99))
            say(f"served: {candidate}, {count} clients: {rate:.0f}/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms")
            if p99 > plan.p99_ms or rate < STILL_GROWS * best[candidate]:
                going.remove(candidate)
            best[candidate] = max(best[candidate], rate)
        if not going:
            break
    return tuple(tried)
