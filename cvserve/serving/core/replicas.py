"""The replicas of a model: how many, on which devices, opened, and inputs to try them with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from cvserve.artifact import Artifact
from cvserve.pipeline import Pipeline
from cvserve.runtimes import Runtime, open_runtime
from cvserve.runtimes.base import RUNTIME_OF
from cvserve.runtimes.choose import choose
from cvserve.runtimes.choose_apart import choose_apart
from cvserve.runtimes.device import parse_device, usable_cores
from cvserve.runtimes.instances import CONCURRENT, InstancePlan, instance_plan, instance_plans
from cvserve.runtimes.opening import candidates as graph_candidates
from cvserve.runtimes.opening import open_candidate
from cvserve.serving.core.batching.execution import RunGraph, Tensors
from cvserve.serving.core.settings import ModelSettings

GPU_INSTANCES = 2
"""Default instances on each GPU: one batch is copied and postprocessed while the other one runs."""


@dataclass(frozen=True)
class Placement:
    """Describes where a replica of a graph runs: the device, and the number of CPU threads."""

    device: str
    threads: int


OpenRuntime = Callable[[Artifact, ModelSettings, Placement], Runtime]
"""Opens one replica."""


def candidates(settings: ModelSettings, runtime: str) -> tuple[InstancePlan, ...]:
    """Returns the plans that are worth measuring; the first is taken where nothing is measured.

    Args:
        settings: instances, threads and devices.
        runtime: the name of the chosen runtime; "auto" where none is chosen yet.
    """
    cores = max(1, usable_cores() // len(settings.devices))
    if not any(parse_device(device).kind == "gpu" for device in settings.devices):
        return instance_plans(settings.instances, settings.threads, cores, runtime)
    if settings.instances is not None:
        return (InstancePlan(*instance_plan(settings.instances, settings.threads, cores)),)
    counts = (GPU_INSTANCES, 1) if runtime not in ("auto", "tensorflow") else (GPU_INSTANCES,)
    return tuple(InstancePlan(count, settings.threads or max(1, cores // count)) for count in counts)


def placements(settings: ModelSettings, chosen: InstancePlan, runtime: str) -> list[Placement]:
    """Returns one placement for each replica to open. Worker number n runs replica n modulo their number, so that
    neighbours are on different devices and each device gets its instances."""
    replicas = 1 if runtime in CONCURRENT else chosen.instances
    return [Placement(device, chosen.threads) for _ in range(replicas) for device in settings.devices]


def worker_count(settings: ModelSettings, chosen: InstancePlan) -> int:
    """Returns how many batches run at the same time on all devices."""
    return chosen.instances * len(settings.devices)


def on_cpu(settings: ModelSettings) -> bool:
    """Returns whether a model runs on the CPU alone."""
    return all(parse_device(device).kind == "cpu" for device in settings.devices)


def open_from_artifact(artifact: Artifact, settings: ModelSettings, placement: Placement) -> Runtime:
    """Opens one replica."""
    how: dict[str, Any] = {"threads": placement.threads, "device": placement.device, "resources": settings.resources}
    if settings.runtime == "auto":
        graph = choose_apart(artifact, precision=settings.precision, **how)
        if graph is not None:
            return open_candidate(artifact, graph, **how)
    return open_runtime(artifact, runtime=settings.runtime, precision=settings.precision, **how)


def of_one_graph(artifact: Artifact, settings: ModelSettings, threads: int) -> ModelSettings:
    """Returns the settings with one graph chosen, where a format is there in several precisions.

    Otherwise each replica would take the fastest graph for its own number of threads, and the replicas of a model must
    give the same answers.

    Args:
        artifact: the model.
        settings: the runtime, precision and devices that are allowed.
        threads: the number of threads with which the graphs are compared.

    Raises:
        As `open_runtime`.
    """
    formats = [graph.format for graph in artifact.manifest.graphs]
    if settings.precision is not None or len(set(formats)) == len(formats):
        return settings
    device = settings.devices[0]
    graphs = graph_candidates(artifact, settings.runtime, None, device)
    if len({graph.format for graph in graphs}) == len(graphs):
        return settings
    how: dict[str, Any] = {"threads": threads, "device": device, "resources": settings.resources}
    graph = choose_apart(artifact, **how) if settings.runtime == "auto" else None
    if graph is None:
        graph, runtime = choose(artifact, graphs, **how)
        runtime.close()
    return settings.model_copy(update={"runtime": RUNTIME_OF[graph.format], "precision": graph.precision})


def open_all(artifact: Artifact, settings: ModelSettings, plan: InstancePlan, open_one: OpenRuntime) -> list[Pipeline]:
    """Opens every replica that the plan needs on every device."""
    pipelines: list[Pipeline] = []
    try:
        pipelines.append(Pipeline(artifact, open_one(artifact, settings, Placement(settings.devices[0], plan.threads))))
        if settings.runtime == "auto":
            # All replicas of a model use the runtime of the first one.
            settings = settings.model_copy(update={"runtime": pipelines[0].runtime.name})
        for placement in placements(settings, plan, pipelines[0].runtime.name)[1:]:
            pipelines.append(Pipeline(artifact, open_one(artifact, settings, placement)))
    except BaseException:
        close_all(pipelines)
        raise
    return pipelines


def close_all(pipelines: Sequence[Pipeline]) -> None:
    """Closes every replica."""
    for pipeline in pipelines:
        pipeline.close()


def graphs_of(pipelines: Sequence[Pipeline], workers: int) -> list[RunGraph]:
    """Returns the graph of each worker."""
    return [pipelines[index % len(pipelines)].runtime.run for index in range(workers)]


def decodes_in_worker(settings: ModelSettings, plan: InstancePlan) -> bool:
    """Returns whether workers decode the images of their batches."""
    # Where a worker is on every core, a pool would only compete with them.
    return on_cpu(settings) and worker_count(settings, plan) >= usable_cores()


def noise_for(pipeline: Pipeline) -> Callable[[int], Tensors]:
    """Returns a function that makes inputs of as many rows as it is given."""
    spec = pipeline.manifest.preproc

    def make(rows: int) -> Tensors:
        # Noise, since some kernels are faster with zeros.
        pixels = np.random.default_rng(0).integers(0, 256, (rows, spec.height, spec.width, 3), np.uint8)
        return pipeline.encode(pixels)

    return make


def photograph_for(pipeline: Pipeline) -> Callable[[], Tensors]:
    """Returns a function that decodes a JPEG of 500 x 375, about as expensive as a photograph."""
    random = np.random.default_rng(0)
    shapes = cv2.resize(random.integers(0, 256, (12, 16, 3), np.uint8), (500, 375), interpolation=cv2.INTER_CUBIC)
    grain = random.normal(0, 12, (375, 500, 1)).astype(np.int16)
    encoded = cv2.imencode(".jpg", np.clip(shapes + grain, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
    photograph: Any = encoded.tobytes()

    def prepare() -> Tensors:
        return pipeline.encode(pipeline.prepare(photograph).pixels[np.newaxis])

    return prepare
