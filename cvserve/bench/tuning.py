"""Searches the settings that serve the most images per second within a latency limit.

Candidates are measured in process first; the best of them are served.
"""

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
from cvserve.bench.baseline import Baseline, CallPlan
from cvserve.bench.clients import Clients
from cvserve.bench.images import write_images
from cvserve.bench.measuring import Say, call_plans, check_task, requested_name, served_name
from cvserve.bench.processes import ServerProcess
from cvserve.errors import FailedPrecondition, InvalidInput
from cvserve.runtimes import usable_runtimes
from cvserve.runtimes.device import usable_cores

BATCHES_IN_A_LATENCY = 2.0
"""Number of batches that a request waits for: the one that runs, and then its own."""

WORTHWHILE_GROWTH = 1.02
"""More clients are tried as long as the rate grows by this factor; otherwise they would only wait longer."""


@dataclass(frozen=True)
class TunePlan:
    """Describes what is tried, and for how long.

    p99_ms: the time within which 99 of 100 answers must come. runtimes: the runtimes to try; empty: all that can run
    the model here. finalists: the number of candidates that are served. rounds, seconds: the rounds and seconds of
    their measurements. screen_seconds: the time of each measurement in process.
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
    """Holds settings to try. rate: images per second in process."""

    runtime: str
    call_plan: CallPlan
    rate: float

    @property
    def batch_ms(self) -> float:
        """Returns the milliseconds that a batch takes while all workers are busy."""
        return self.call_plan.callers * self.call_plan.batch / self.rate * 1000

    @property
    def settings(self) -> dict[str, Any]:
        """Returns the candidate as settings of the server."""
        return {
            "runtime": self.runtime,
            "instances": self.call_plan.callers,
            "threads": self.call_plan.threads,
            "max_batch_size": self.call_plan.batch,
        }

    def __str__(self) -> str:
        plan = self.call_plan
        return f"{self.runtime}, {plan.callers} instances x {plan.threads} threads, batches up to {plan.batch}"


@dataclass(frozen=True)
class Tried:
    """Holds the results of a candidate with `clients` clients. rate: images per second. p50, p99: milliseconds."""

    candidate: Candidate
    clients: int
    rate: float
    p50: float
    p99: float


@dataclass(frozen=True)
class TuneResult:
    """Holds the result of a search. best: the one with the largest rate within the limit. settings: the model's
    settings for the server. tried: all candidates that were served."""

    model: str
    p99_ms: float
    best: Tried
    settings: Mapping[str, Any]
    tried: tuple[Tried, ...]

    def to_yaml(self) -> str:
        """Returns a settings file for `cvserve serve --config`, with the measured figures as comments."""
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
    """Searches runtime, instances, threads, batch and queue for the most images per second within `plan.p99_ms`.

    Args:
        path, version, images, say: as in `bench`.

    Raises:
        NotFound, ArtifactError: no such model.
        InvalidInput: a runtime cannot run it here.
        FailedPrecondition: no candidate is within the limit, or the model is not a classifier.
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
            say(f"in process: {candidate}: {candidate.rate:.0f}/s, {candidate.batch_ms:.1f} ms per batch")
        servers = {
            candidate: stack.enter_context(ServerProcess(artifact.directory, candidate.settings))
            for candidate in finalists
        }
        clients = Clients(requested_name(artifact), folder)
        stack.callback(clients.close)
        tried = _serve(servers, clients, plan, say)
    best = choose(tried, plan.p99_ms)
    # Requests that would have to wait longer than the limit are refused at once.
    bound = max(best.clients, best.candidate.call_plan.callers * best.candidate.call_plan.batch)
    return TuneResult(
        served_name(artifact), plan.p99_ms, best, {**best.candidate.settings, "max_queue_requests": bound}, tried
    )


def promising(screened: Iterable[Candidate], p99_ms: float, count: int) -> list[Candidate]:
    """Returns the candidates that are worth serving, best first.

    For each runtime, number of callers and number of threads the batch size with the best rate is taken, of those whose
    batches are short enough for the limit. If none is, the candidate with the shortest batches is taken.
    """
    screened = list(screened)
    possible = [each for each in screened if BATCHES_IN_A_LATENCY * each.batch_ms <= p99_ms]
    if not possible:
        return [min(screened, key=lambda each: each.batch_ms)]
    best: dict[tuple[str, int, int], Candidate] = {}
    for each in possible:
        key = (each.runtime, each.call_plan.callers, each.call_plan.threads)
        if key not in best or each.rate > best[key].rate:
            best[key] = each
    return sorted(best.values(), key=lambda each: each.rate, reverse=True)[:count]


def choose(tried: Sequence[Tried], p99_ms: float) -> Tried:
    """Returns the result with the largest rate within the limit; of equal rates the one with the lower p99.

    Raises:
        FailedPrecondition: no result is within the limit.
    """
    within = [each for each in tried if each.p99 <= p99_ms]
    if not within:
        fastest = min(tried, key=lambda each: each.p99)
        raise FailedPrecondition(
            f"nothing keeps p99 within {p99_ms:g} ms here; the lowest is {fastest.p99:.1f} ms at {fastest.clients} "
            f"clients ({fastest.candidate}); raise the limit, or take a smaller model"
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
    candidates = []
    for threads in sorted({1, cores}):
        baseline = Baseline(artifact.directory, images, runtime, None, threads)
        try:
            for call_plan in call_plans(cores, plan.batches):
                if call_plan.threads == threads:
                    rate = baseline.rate(call_plan, plan.screen_seconds)["rate"]
                    candidates.append(Candidate(runtime, call_plan, rate))
        finally:
            baseline.close()
    return candidates


def _serve(servers: Mapping[Candidate, ServerProcess], clients: Clients, plan: TunePlan, say: Say) -> tuple[Tried, ...]:
    """Serves every candidate to more and more clients, until the limit is exceeded or the rate stops growing."""
    tried: list[Tried] = []
    best: dict[Candidate, float] = dict.fromkeys(servers, 0.0)
    remaining = list(servers)
    for count in plan.concurrency:
        figures: dict[Candidate, list[dict[str, float]]] = {candidate: [] for candidate in remaining}
        for _ in range(plan.rounds):
            for candidate in remaining:
                target = servers[candidate].target
                figures[candidate].append(clients.waiting(target, count, plan.seconds, plan.warm_seconds))
        for candidate in list(remaining):
            p50, p99, rate = (
                statistics.median(figure[key] for figure in figures[candidate]) for key in ("p50", "p99", "rate")
            )
            tried.append(Tried(candidate, count, rate, p50, p99))
            say(f"served: {candidate}, {count} clients: {rate:.0f}/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms")
            if p99 > plan.p99_ms or rate < WORTHWHILE_GROWTH * best[candidate]:
                remaining.remove(candidate)
            best[candidate] = max(best[candidate], rate)
        if not remaining:
            break
    return tuple(tried)
