"""Chooses the instance plan and the largest batch: from the settings, and where they leave it open, by measuring."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cvserve.artifact import Artifact
from cvserve.errors import OutOfMemory
from cvserve.pipeline import Pipeline
from cvserve.runtimes import FORMAT_OF
from cvserve.runtimes.device import parse_device, usable_cores
from cvserve.runtimes.instances import CONCURRENT, InstancePlan
from cvserve.runtimes.remembering import accelerators, key_of, package_version, processor, recall, remember
from cvserve.serving.core.batching.execution import RunGraph
from cvserve.serving.core.measuring import Score, Trial, choose, good_batches, is_worthwhile, lone_threads, race
from cvserve.serving.core.replicas import (
    OpenRuntime,
    candidates,
    close_all,
    decodes_in_worker,
    graphs_of,
    noise_for,
    on_cpu,
    open_all,
    photograph_for,
    worker_count,
)
from cvserve.serving.core.settings import ModelSettings

_LOG = logging.getLogger(__name__)

LONE_REPLICA_BYTES = 256 << 20
"""Graphs of more bytes are not loaded a second time for lone requests."""

STEADY = 0.85
"""Below this fraction of the best rate, something else used the CPU, and the measurement is repeated an hour later."""

UNSTEADY_SECONDS = 3600.0

_MEMORY = "layouts"
_LIBRARIES = ("tensorflow", "onnxruntime", "ai-edge-litert")


@dataclass(frozen=True)
class Chosen:
    """Holds the plan that was chosen for a model.

    Attributes:
        plan: instances and threads on each device.
        max_rows: the largest batch.
        runtime: the runtime that was measured; empty where nothing was measured.
        steady: whether nothing else used the CPU meanwhile.
        lone: the threads of a replica for lone requests; None: they run like all others.
        remembered: whether it was measured at an earlier load.
    """

    plan: InstancePlan
    max_rows: int
    runtime: str = ""
    steady: bool = True
    lone: int | None = None
    remembered: bool = False


def chosen_for(artifact: Artifact, settings: ModelSettings, open_one: OpenRuntime, *, again: bool = False) -> Chosen:
    """Returns the plan that the settings give; what they leave open is measured now or was measured at an earlier load.

    Args:
        artifact: the model.
        settings: how it runs.
        open_one: opens one replica.
        again: whether to measure even where an earlier load has measured.
    """
    plans = candidates(settings, settings.runtime)
    rows_known = settings.largest_batch is not None or not settings.batching
    if rows_known and len(plans) == 1:
        return Chosen(plans[0], settings.largest_batch or 1)
    key = _key(artifact, settings)
    remembered = _remembered(recall(_MEMORY, key))
    if remembered is not None and not again:
        return remembered
    chosen = _measured(artifact, settings, plans[0], open_one)
    content = {
        "instances": chosen.plan.instances,
        "threads": chosen.plan.threads,
        "max_rows": chosen.max_rows,
        "runtime": chosen.runtime,
        "steady": chosen.steady,
        "lone": chosen.lone,
        "measured": time.time(),
    }
    remember(_MEMORY, key, content)
    return chosen


def _remembered(content: dict[str, Any]) -> Chosen | None:
    try:
        if not content["steady"] and time.time() - float(content["measured"]) > UNSTEADY_SECONDS:
            return None
        plan = InstancePlan(int(content["instances"]), int(content["threads"]))
        lone = content["lone"]
        return Chosen(
            plan,
            int(content["max_rows"]),
            str(content["runtime"]),
            lone=None if lone is None else int(lone),
            remembered=True,
        )
    except (KeyError, TypeError, ValueError):
        return None  # no such file, or a damaged one


def _measured(artifact: Artifact, settings: ModelSettings, first: InstancePlan, open_one: OpenRuntime) -> Chosen:
    """Opens the replicas of every plan that is worth it, finds the best batch of each, and compares their rates."""
    opened = {first: open_all(artifact, settings, first, open_one)}
    try:
        runtime = opened[first][0].runtime.name
        same = settings.model_copy(update={"runtime": runtime}) if settings.runtime == "auto" else settings
        plans = (first, *(other for other in candidates(same, runtime) if other != first))
        trials: dict[tuple[InstancePlan, int], Trial] = {}
        for plan in plans:
            try:
                if plan not in opened:
                    shared = _shareable_replicas(opened, settings, plan, runtime)
                    opened[plan] = shared or open_all(artifact, same, plan, open_one)
                pipelines = opened[plan]
                graphs = graphs_of(pipelines, worker_count(settings, plan))
                batches = _batches(settings, runtime, graphs, pipelines[0])
            except OutOfMemory as error:
                if not trials:
                    raise
                _LOG.info("there is not enough memory for the plan %s: %s", plan, error)
                continue
            for rows in batches:
                lone_rows = rows if one_size(settings, runtime) else 1
                trials[plan, rows] = Trial(graphs, rows, decodes_in_worker(settings, plan), lone_rows)
        if len(trials) == 1:
            ((plan, rows),) = trials
            return Chosen(plan, rows, runtime)
        raced = race(trials, photograph_for(opened[first][0]), usable_cores(), in_turns=not one_size(settings, runtime))
        scores, rows_of = _best_batches(raced)
        load_twice = _may_load_twice(artifact, settings, runtime)
        chosen = choose(scores, lone_replica=load_twice)
        steady = all(score.steady >= STEADY for score in raced.values())
        lone = lone_threads(scores, chosen) if load_twice else None
        return Chosen(chosen, rows_of[chosen], runtime, steady, lone)
    finally:
        # A runtime keeps the memory of the largest batch that it has ever run.
        for pipelines in opened.values():
            close_all(pipelines)


def one_size(settings: ModelSettings, runtime: str) -> bool:
    """Returns whether only one batch size is kept ready, since each size needs its own part of a limited memory (see
    `cvserve.runtimes.cuda`)."""
    return runtime == "onnx" and not on_cpu(settings) and settings.gpu_memory_mib is not None


def _batches(settings: ModelSettings, runtime: str, graphs: Sequence[RunGraph], pipeline: Pipeline) -> Sequence[int]:
    """Returns the batch sizes whose rates are to be compared."""
    if settings.largest_batch is not None or not settings.batching:
        return (settings.largest_batch or 1,)
    return good_batches(graphs, noise_for(pipeline), in_turns=not one_size(settings, runtime))


def _best_batches(
    raced: Mapping[tuple[InstancePlan, int], Score],
) -> tuple[dict[InstancePlan, Score], dict[InstancePlan, int]]:
    """Returns for each plan the score and the rows of its best batch."""
    rows: dict[InstancePlan, int] = {}
    for (plan, batch), score in sorted(raced.items(), key=lambda item: item[0][1]):
        known = rows.get(plan)
        if known is None or is_worthwhile(batch, score.rate, known, raced[plan, known].rate):
            rows[plan] = batch
    return {plan: raced[plan, batch] for plan, batch in rows.items()}, rows


def _may_load_twice(artifact: Artifact, settings: ModelSettings, runtime: str) -> bool:
    """Returns whether the graph may be loaded once more for lone requests."""
    sizes = [graph.bytes for graph in artifact.manifest.graphs if graph.format == FORMAT_OF.get(runtime)]
    return on_cpu(settings) and max(sizes, default=0) <= LONE_REPLICA_BYTES


def _shareable_replicas(
    opened: dict[InstancePlan, list[Pipeline]], settings: ModelSettings, wanted: InstancePlan, runtime: str
) -> list[Pipeline] | None:
    """Returns the replicas of another plan that this plan can use too, so that a large model is in memory fewer
    times."""
    if runtime not in CONCURRENT:
        return None
    # On a GPU the number of CPU threads hardly matters, and memory is scarce.
    all_gpus = all(parse_device(device).kind == "gpu" for device in settings.devices)
    alike = (pipelines for plan, pipelines in opened.items() if all_gpus or plan.threads == wanted.threads)
    return next(alike, None)


def _key(artifact: Artifact, settings: ModelSettings) -> str:
    """Returns the key of a measurement. It is made of the sizes of the files, not their contents, so that the versions
    of one network share it."""
    manifest = artifact.manifest
    memory = (
        {} if on_cpu(settings) else settings.model_dump(include={"gpu_memory_mib", "gpu_memory_growth", "gpu_tf32"})
    )
    return key_of(
        memory
        | {
            "graphs": sorted([graph.format, graph.precision, graph.bytes] for graph in manifest.graphs if graph.usable),
            # These names stay: with others, what was measured before would not be found.
            "picture": [manifest.preproc.height, manifest.preproc.width],
            "rule": 2,  # of the choice: what was chosen by an earlier rule is measured again
            "processor": processor(),
            "accelerators": accelerators(settings.devices),
            "cores": usable_cores(),
            "settings": settings.model_dump(
                include={
                    "runtime",
                    "precision",
                    "devices",
                    "instances",
                    "threads",
                    "interop_threads",
                    "batching",
                    "max_batch_size",
                    "allowed_batch_sizes",
                },
                mode="json",
            ),
            "versions": {name: package_version(name) for name in _LIBRARIES},
        }
    )
