"""Measures a model in process, served, and overloaded, in rounds."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from cvserve import artifact as artifacts
from cvserve.artifact import Artifact
from cvserve.bench.baseline import Baseline, CallPlan
from cvserve.bench.clients import Clients
from cvserve.bench.images import write_images
from cvserve.bench.processes import PARTS, ServerProcess, spent_between
from cvserve.bench.results import BaselineFigures, BenchPlan, BenchResult, Lone, Overload, Point, Served
from cvserve.bench.stages import read_stages
from cvserve.errors import FailedPrecondition
from cvserve.runtimes.device import usable_cores
from cvserve.serving import load_settings
from cvserve.serving.core.repository import name_of

Say = Callable[[str], None]
Figures = dict[str, float]

FINALISTS = 3
"""Number of plans of the baseline that are measured in the rounds; the others are measured once."""

NOT_MEASURED = ("tls", "tokens")
"""Settings with which these clients could not connect."""

MEASURED_TASKS = ("classification",)
"""The tasks that can be measured: the clients send `Classify`."""

SERVED = "served"
"""The name of the server with the requested settings, in the results."""


def bench(
    path: str | Path,
    plan: BenchPlan | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    compare: Mapping[str, Mapping[str, Any]] | None = None,
    version: int | None = None,
    images: str | Path | None = None,
    say: Say = lambda line: None,
) -> BenchResult:
    """Measures an artifact on this machine: in process, and served to clients on the same cores.

    Args:
        path: a model's directory, whose newest version is taken, or a version's.
        settings: the settings of the server, as `cvserve serve --config` takes them.
        compare: more servers by name, each with its own settings on top of `settings`, measured in the same rounds.
        images: a folder of the user's own; None generates JPEGs of 500 x 375.
        say: called with a line of text for each step.

    Raises:
        NotFound, ArtifactError: no such model.
        FailedPrecondition: the model is not a classifier.
        CvserveError: the server did not start, or nothing was answered.
    """
    plan, settings = plan or BenchPlan(), dict(settings or {})
    artifact = artifacts.read(path, version)
    check_task(artifact)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "images"
        write_images(folder, images)
        baselines = open_baselines(artifact, folder, settings, stack)
        screened, graph = screen(baselines, plan)
        finalists = sorted(screened, key=screened.__getitem__, reverse=True)[:FINALISTS]
        say("in process, screened: " + ", ".join(f"[{best}] {screened[best]:.0f}/s" for best in finalists))
        servers: dict[str, ServerProcess] = {}
        all_settings = {SERVED: settings} | {name: settings | dict(own) for name, own in (compare or {}).items()}
        for name, own in all_settings.items():
            values = alone_on_this_machine(own, served_name(artifact), requested_name(artifact))
            servers[name] = stack.enter_context(ServerProcess(artifact.directory, values))
            for line in servers[name].lines:
                say(f"{name}: {line}")
        clients = Clients(requested_name(artifact), folder, plan.client)
        stack.callback(clients.close)
        rounds = _Rounds(plan, baselines, finalists, servers, clients, say)
        for number in range(plan.rounds):
            rounds.run(number)
        top = rounds.best_plan()
        lone = rounds.baseline_lone()
        served = {
            name: Served(
                all_settings[name],
                tuple(server.lines),
                tuple(rounds.point(name, count, top) for count in plan.concurrency),
                server.memory_mib(),
                rounds.lone(name),
                stages=read_stages(server.http),
            )
            for name, server in servers.items()
        }
        for name, server in servers.items():
            served[name] = _overload_and_idle(served[name], server, clients, plan, say)
    return BenchResult(
        model=served_name(artifact),
        version=artifact.manifest.version,
        runtime=next(iter(baselines.values())).runtime,
        cores=usable_cores(),
        plan=plan,
        baseline=BaselineFigures(top, rounds.baseline_median(top, "rate"), rounds.baseline_median(top, "cpu_ms")),
        stages={name: lone[name] for name in ("decode", "run", "postprocess")},
        screened={str(call_plan): rate for call_plan, rate in screened.items()},
        graph=graph,
        servers=served,
    )


def check_task(artifact: Artifact) -> None:
    """Checks that the model's task can be measured.

    Raises:
        FailedPrecondition: it cannot.
    """
    if artifact.manifest.task not in MEASURED_TASKS:
        raise FailedPrecondition(
            f"{artifact.directory} does {artifact.manifest.task}; bench and tune measure "
            f"{', '.join(MEASURED_TASKS)} so far"
        )


def served_name(artifact: Artifact) -> str:
    """Returns the model's name in a server of the model's directory, and in settings."""
    return artifact.directory.resolve().parent.name


def requested_name(artifact: Artifact) -> str:
    """Returns the model's name in the servers that are measured, which serve the directory of one version."""
    return name_of(artifact.directory)


def alone_on_this_machine(settings: Mapping[str, Any], model: str, requested: str = "") -> dict[str, Any]:
    """Returns the settings for a server of just this model and for clients on this machine: a free port, no TLS, no
    tokens, and nothing about other models.

    Args:
        model: the model's name in the settings.
        requested: its name in the server; "": the same.
    """
    values = {key: value for key, value in settings.items() if key not in NOT_MEASURED}
    if values.get("http_port") != -1:
        values["http_port"] = 0
    if values.get("models"):
        own = values["models"].get(model, values["models"].get(requested))
        values["models"] = {} if own is None else {requested or model: own}
    return values


def open_baselines(
    artifact: Artifact, images: Path, settings: Mapping[str, Any], stack: ExitStack
) -> dict[int, Baseline]:
    """Opens the pipeline in two processes, by CPU threads of the graph: with one thread, and with one for each core."""
    model = load_settings(dict(settings)).of_model(served_name(artifact))
    runtime: str = model.runtime
    opened: dict[int, Baseline] = {}
    for threads in sorted({1, usable_cores()}):
        baseline = Baseline(
            artifact.directory, images, runtime, model.precision, threads, model.devices, model.resources
        )
        stack.callback(baseline.close)
        opened[threads] = baseline
        runtime = baseline.runtime  # the runtime that auto chose for the first one is used for all
    return opened


def call_plans(cores: int, batches: Sequence[int]) -> list[CallPlan]:
    """Returns the plans that use every core."""
    return [
        CallPlan(callers, threads, batch)
        for threads in sorted({1, cores})
        for callers in sorted({1, cores})
        for batch in batches
        if callers * threads >= cores
    ]


def screen(baselines: Mapping[int, Baseline], plan: BenchPlan) -> tuple[dict[CallPlan, float], dict[int, float]]:
    """Measures each plan once; returns images per second of every plan of the pipeline, and of the graph by batch
    size."""
    cores, seconds = max(baselines), plan.seconds / 4
    plans = call_plans(cores, plan.batches)
    screened = {call_plan: baselines[call_plan.threads].rate(call_plan, seconds)["rate"] for call_plan in plans}
    graph = {
        batch: baselines[1].rate(CallPlan(cores, 1, batch), seconds, graph_only=True)["rate"] for batch in plan.batches
    }
    return screened, graph


class _Rounds:
    """Measures baseline and servers in turn, and keeps the figures."""

    def __init__(
        self,
        plan: BenchPlan,
        baselines: Mapping[int, Baseline],
        plans: Sequence[CallPlan],
        servers: Mapping[str, ServerProcess],
        clients: Clients,
        say: Say,
    ) -> None:
        self._plan, self._baselines, self._servers, self._clients, self._say = plan, baselines, servers, clients, say
        self._in_process: dict[CallPlan, list[Figures]] = {call_plan: [] for call_plan in plans}
        self._lone: list[Figures] = []
        self._served: dict[tuple[str, int], list[Figures]] = {
            (name, count): [] for name in servers for count in plan.concurrency
        }

    def run(self, number: int) -> None:
        """Measures everything once."""
        plan = self._plan
        for call_plan, figures in self._in_process.items():
            figures.append(self._baselines[call_plan.threads].rate(call_plan, plan.seconds / len(self._in_process)))
        # The fastest number of threads for one image.
        lone = [baseline.lone(plan.seconds / 2) for baseline in self._baselines.values()]
        self._lone.append(min(lone, key=lambda figures: figures["p50"]))
        for (name, count), figures in self._served.items():
            server = self._servers[name]
            cpu, threads = server.cpu_seconds(), server.threads()
            measured = self._clients.waiting(server.target, count, plan.seconds, plan.warm_seconds)
            # Divided by all calls, also those before and after the measured time.
            measured["server_cpu_ms"] = (server.cpu_seconds() - cpu) * 1000 / measured["calls"]
            for part, spent in spent_between(threads, server.threads()).items():
                measured[part] = spent * 1000 / measured["calls"]
            figures.append(measured)
        best = max(figures[-1]["rate"] for figures in self._in_process.values())
        parts = [f"in process {best:.0f}/s"]
        for name in self._servers:
            rates = [self._served[name, count][-1]["rate"] for count in plan.concurrency]
            parts.append(f"{name} " + ", ".join(f"{rate:.0f}" for rate in rates))
        self._say(f"round {number + 1} of {plan.rounds}: " + "; ".join(parts))

    def best_plan(self) -> CallPlan:
        """Returns the plan with the best rate, which is the baseline."""
        return max(self._in_process, key=lambda call_plan: self.baseline_median(call_plan, "rate"))

    def baseline_median(self, call_plan: CallPlan, key: str) -> float:
        """Returns the median over the rounds of a figure of the baseline."""
        return _median(self._in_process[call_plan], key)

    def baseline_lone(self) -> Figures:
        """Returns the medians over the rounds of the baseline's figures with one image at a time."""
        return {key: _median(self._lone, key) for key in self._lone[0]}

    def point(self, name: str, count: int, top: CallPlan) -> Point:
        """Returns the results of a server with a number of clients, beside the plan `top` of the baseline."""
        figures = self._served[name, count]
        return Point(
            clients=count,
            rate=_median(figures, "rate"),
            p50=_median(figures, "p50"),
            p95=_median(figures, "p95"),
            p99=_median(figures, "p99"),
            server_cpu_ms=_median(figures, "server_cpu_ms"),
            client_cpu_ms=_median(figures, "cpu_ms"),
            to_baseline=_median_ratio(figures, self._in_process[top], "rate"),
            parts={part: _median(figures, part) for part in PARTS if part in figures[0]},
        )

    def lone(self, name: str) -> Lone | None:
        """Returns the latency of one client beside the pipeline's own; None if one client was not measured."""
        figures = self._served.get((name, 1))
        if not figures:
            return None
        return Lone(_median(self._lone, "p50"), _median(figures, "p50"), _median_ratio(figures, self._lone, "p50"))


def _overload_and_idle(served: Served, server: ServerProcess, clients: Clients, plan: BenchPlan, say: Say) -> Served:
    """Returns the results with those of overload and of the idle server, which need no rounds."""
    if plan.overload_seconds > 0:
        capacity = served.best.rate
        measured = clients.overload(
            server.target, capacity * plan.overload_factor, plan.overload_deadline, plan.overload_seconds
        )
        served = replace(served, overload=Overload(to_capacity=measured["good"] / capacity, **measured))
        say(f"overload: {measured['offered']:.0f}/s offered, {measured['good']:.0f}/s answered in time")
    if plan.idle_seconds > 0 and server.threads():
        time.sleep(min(1.0, plan.idle_seconds))  # until the work of the last requests is done
        start, threads = time.perf_counter(), server.threads()
        time.sleep(plan.idle_seconds)
        used = sum(spent_between(threads, server.threads()).values()) / (time.perf_counter() - start)
        served = replace(served, idle_percent=used * 100)
    return served


def _median(figures: Sequence[Figures], key: str) -> float:
    return float(statistics.median(figure[key] for figure in figures))


def _median_ratio(above: Sequence[Figures], below: Sequence[Figures], key: str) -> float:
    return float(statistics.median(a[key] / b[key] for a, b in zip(above, below, strict=True)))
