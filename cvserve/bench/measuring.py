"""The run: in process, served, and served too much, in rounds."""

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
from cvserve.bench.clients import Clients
from cvserve.bench.images import write_images
from cvserve.bench.inside import Inside, InsideLayout
from cvserve.bench.processes import PARTS, ServerProcess, spent_between
from cvserve.bench.results import BenchPlan, BenchResult, Ceiling, Lone, Overload, Point, Served
from cvserve.bench.stages import read_stages
from cvserve.errors import FailedPrecondition
from cvserve.runtimes.device import usable_cores
from cvserve.serving import load_settings
from cvserve.serving.core.repository import name_of

Say = Callable[[str], None]
Figures = dict[str, float]

FINALISTS = 3
"""Layouts in process that take part in the rounds; the others are screened once."""

NOT_MEASURED = ("tls", "tokens")
"""Settings that keep strangers out, and the clients here."""

SERVED = "served"
"""What the server with the settings asked for is called."""


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
        path: a model's directory, of which the newest version counts, or a version's.
        settings: of the server, as `cvserve serve --config` takes them.
        compare: further servers by name, each with its own settings on top of `settings`, measured in the same rounds.
        images: a folder of the user's own; None makes JPEGs of 500 x 375.
        say: told how far it is.

    Raises:
        NotFound, ArtifactError: no such model. FailedPrecondition: a model that does not classify.
        CvserveError: the server did not start, or nothing was answered.
    """
    plan, settings = plan or BenchPlan(), dict(settings or {})
    artifact = artifacts.read(path, version)
    check_task(artifact)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "images"
        write_images(folder, images)
        insides = open_insides(artifact, folder, settings, stack)
        screened, graph = screen(insides, plan)
        finalists = sorted(screened, key=lambda layout: screened[layout], reverse=True)[:FINALISTS]
        say("in process, screened: " + ", ".join(f"[{layout}] {screened[layout]:.0f}/s" for layout in finalists))
        servers: dict[str, ServerProcess] = {}
        all_settings = {SERVED: settings} | {name: settings | dict(own) for name, own in (compare or {}).items()}
        for name, own in all_settings.items():
            values = alone_on_this_machine(own, served_name(artifact), asked_name(artifact))
            servers[name] = stack.enter_context(ServerProcess(artifact.directory, values))
            for line in servers[name].lines:
                say(f"{name}: {line}")
        clients = Clients(asked_name(artifact), folder, plan.client)
        stack.callback(clients.close)
        rounds = _Rounds(plan, insides, finalists, servers, clients, say)
        for number in range(plan.rounds):
            rounds.run(number)
        top = rounds.best_layout()
        lone = rounds.inside_lone()
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
            served[name] = _further(served[name], server, clients, plan, say)
    return BenchResult(
        model=served_name(artifact),
        version=artifact.manifest.version,
        runtime=next(iter(insides.values())).runtime,
        cores=usable_cores(),
        plan=plan,
        ceiling=Ceiling(top, rounds.inside_middle(top, "rate"), rounds.inside_middle(top, "cpu_ms")),
        stages={name: lone[name] for name in ("decode", "run", "postprocess")},
        screened={str(layout): rate for layout, rate in screened.items()},
        graph=graph,
        servers=served,
    )


def check_task(artifact: Artifact) -> None:
    """
    Raises:
        FailedPrecondition: there is no call to measure for this task.
    """
    if artifact.manifest.task != "classification":
        raise FailedPrecondition(
            f"{artifact.directory} does {artifact.manifest.task}; bench and tune measure classification so far"
        )


def served_name(artifact: Artifact) -> str:
    """What a server of the model's directory calls the model, and settings do."""
    return artifact.directory.resolve().parent.name


def asked_name(artifact: Artifact) -> str:
    """What the servers here call it, which are given the directory of one version."""
    return name_of(artifact.directory)


def alone_on_this_machine(settings: Mapping[str, Any], model: str, asked: str = "") -> dict[str, Any]:
    """Settings as they are for a server of just this model and plain clients here: a free port instead of one that
    another server may have now, no TLS, no tokens, nothing about other models.

    Args:
        model: what the settings call it.
        asked: what the server will; "": the same.
    """
    values = {key: value for key, value in settings.items() if key not in NOT_MEASURED}
    if values.get("http_port") != -1:
        values["http_port"] = 0
    if values.get("models"):
        own = values["models"].get(model, values["models"].get(asked))
        values["models"] = {} if own is None else {asked or model: own}
    return values


def open_insides(artifact: Artifact, images: Path, settings: Mapping[str, Any], stack: ExitStack) -> dict[int, Inside]:
    """The pipeline in processes of their own, by threads of the graph: one, and one a core."""
    model = load_settings(dict(settings)).of_model(served_name(artifact))
    runtime: str = model.runtime
    opened: dict[int, Inside] = {}
    for threads in sorted({1, usable_cores()}):
        inside = Inside(artifact.directory, images, runtime, model.precision, threads, model.devices, model.resources)
        stack.callback(inside.close)
        opened[threads] = inside
        runtime = inside.runtime  # what auto took for the first holds for all
    return opened


def inside_layouts(cores: int, batches: Sequence[int]) -> list[InsideLayout]:
    """Those that use every core."""
    return [
        InsideLayout(callers, threads, batch)
        for threads in sorted({1, cores})
        for callers in sorted({1, cores})
        for batch in batches
        if callers * threads >= cores
    ]


def screen(insides: Mapping[int, Inside], plan: BenchPlan) -> tuple[dict[InsideLayout, float], dict[int, float]]:
    """Images a second: of every layout of the pipeline, and of the graph alone by batch size."""
    cores, seconds = max(insides), plan.seconds / 4
    layouts = inside_layouts(cores, plan.batches)
    screened = {layout: insides[layout.threads].rate(layout, seconds)["rate"] for layout in layouts}
    graph = {
        batch: insides[1].rate(InsideLayout(cores, 1, batch), seconds, graph_only=True)["rate"]
        for batch in plan.batches
    }
    return screened, graph


class _Rounds:
    """Everything measured in turn, and what came of it."""

    def __init__(
        self,
        plan: BenchPlan,
        insides: Mapping[int, Inside],
        layouts: Sequence[InsideLayout],
        servers: Mapping[str, ServerProcess],
        clients: Clients,
        say: Say,
    ) -> None:
        self._plan, self._insides, self._servers, self._clients, self._say = plan, insides, servers, clients, say
        self._inside: dict[InsideLayout, list[Figures]] = {layout: [] for layout in layouts}
        self._lone: list[Figures] = []
        self._served: dict[tuple[str, int], list[Figures]] = {
            (name, count): [] for name in servers for count in plan.concurrency
        }

    def run(self, number: int) -> None:
        """One round."""
        plan = self._plan
        for layout, figures in self._inside.items():
            figures.append(self._insides[layout.threads].rate(layout, plan.seconds / len(self._inside)))
        # The quickest way that a pipeline answers one image.
        lone = [inside.lone(plan.seconds / 2) for inside in self._insides.values()]
        self._lone.append(min(lone, key=lambda figures: figures["p50"]))
        for (name, count), figures in self._served.items():
            server = self._servers[name]
            cpu, threads = server.cpu_seconds(), server.threads()
            found = self._clients.waiting(server.target, count, plan.seconds, plan.warm_seconds)
            # For all of its calls, those before and after the measured time too.
            found["server_cpu_ms"] = (server.cpu_seconds() - cpu) * 1000 / found["calls"]
            for part, spent in spent_between(threads, server.threads()).items():
                found[part] = spent * 1000 / found["calls"]
            figures.append(found)
        best = max(figures[-1]["rate"] for figures in self._inside.values())
        said = [f"ceiling {best:.0f}/s"]
        for name in self._servers:
            rates = [self._served[name, count][-1]["rate"] for count in plan.concurrency]
            said.append(f"{name} " + ", ".join(f"{rate:.0f}" for rate in rates))
        self._say(f"round {number + 1} of {plan.rounds}: " + "; ".join(said))

    def best_layout(self) -> InsideLayout:
        """The ceiling's."""
        return max(self._inside, key=lambda layout: self.inside_middle(layout, "rate"))

    def inside_middle(self, layout: InsideLayout, key: str) -> float:
        return _middle(self._inside[layout], key)

    def inside_lone(self) -> Figures:
        return {key: _middle(self._lone, key) for key in self._lone[0]}

    def point(self, name: str, count: int, top: InsideLayout) -> Point:
        figures = self._served[name, count]
        return Point(
            clients=count,
            rate=_middle(figures, "rate"),
            p50=_middle(figures, "p50"),
            p95=_middle(figures, "p95"),
            p99=_middle(figures, "p99"),
            server_cpu_ms=_middle(figures, "server_cpu_ms"),
            client_cpu_ms=_middle(figures, "cpu_ms"),
            to_ceiling=_middle_ratio(figures, self._inside[top], "rate"),
            parts={part: _middle(figures, part) for part in PARTS if part in figures[0]},
        )

    def lone(self, name: str) -> Lone | None:
        """The latency of one client beside the pipeline's own; None if one client was not asked for."""
        figures = self._served.get((name, 1))
        if not figures:
            return None
        return Lone(_middle(self._lone, "p50"), _middle(figures, "p50"), _middle_ratio(figures, self._lone, "p50"))


def _further(served: Served, server: ServerProcess, clients: Clients, plan: BenchPlan, say: Say) -> Served:
    """Overload and idleness, which need no rounds."""
    if plan.overload_seconds > 0:
        capacity = served.best.rate
        found = clients.pressing(
            server.target, capacity * plan.overload_factor, plan.overload_deadline, plan.overload_seconds
        )
        served = replace(served, overload=Overload(to_capacity=found["good"] / capacity, **found))
        say(f"overload: {found['offered']:.0f}/s offered, {found['good']:.0f}/s answered in time")
    if plan.idle_seconds > 0 and server.threads():
        time.sleep(min(1.0, plan.idle_seconds))  # what the last requests left behind is done
        start, threads = time.perf_counter(), server.threads()
        time.sleep(plan.idle_seconds)
        used = sum(spent_between(threads, server.threads()).values()) / (time.perf_counter() - start)
        served = replace(served, idle_percent=used * 100)
    return served


def _middle(figures: Sequence[Figures], key: str) -> float:
    return float(statistics.median(figure[key] for figure in figures))


def _middle_ratio(above: Sequence[Figures], below: Sequence[Figures], key: str) -> float:
    return float(statistics.median(a[key] / b[key] for a, b in zip(above, below, strict=True)))
