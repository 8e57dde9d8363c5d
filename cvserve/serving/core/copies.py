"""The copies of a model: opened where they belong, what their workers run, and inputs to try them with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from cvserve.artifact import Artifact
from cvserve.pipeline import Pipeline
from cvserve.runtimes import Runtime, open_runtime
from cvserve.runtimes.base import RUNTIME_OF
from cvserve.runtimes.choose import choose
from cvserve.runtimes.choose_apart import choose_apart
from cvserve.runtimes.device import usable_cores
from cvserve.runtimes.instances import Layout
from cvserve.runtimes.opening import candidates, open_candidate
from cvserve.serving.core.batching.execution import RunGraph, Tensors
from cvserve.serving.core.placement import Place, on_cpu, places, worker_count
from cvserve.serving.core.settings import ModelSettings

OpenRuntime = Callable[[Artifact, ModelSettings, Place], Runtime]


def open_from_artifact(artifact: Artifact, settings: ModelSettings, place: Place) -> Runtime:
    """Opens one copy."""
    how: dict[str, Any] = {"threads": place.threads, "device": place.device, "resources": settings.resources}
    if settings.runtime == "auto":
        graph = choose_apart(artifact, precision=settings.precision, **how)
        if graph is not None:
            return open_candidate(artifact, graph, **how)
    return open_runtime(artifact, runtime=settings.runtime, precision=settings.precision, **how)


def of_one_graph(artifact: Artifact, settings: ModelSettings, threads: int) -> ModelSettings:
    """The settings with the graph decided, where a format is there in several precisions: each copy would otherwise
    take the fastest for its own number of threads, and the copies of a model must answer alike.

    Args:
        threads: with which it is decided.

    Raises:
        As `open_runtime`.
    """
    formats = [graph.format for graph in artifact.manifest.graphs]
    if settings.precision is not None or len(set(formats)) == len(formats):
        return settings
    device = settings.devices[0]
    graphs = candidates(artifact, settings.runtime, None, device)
    if len({graph.format for graph in graphs}) == len(graphs):
        return settings
    how: dict[str, Any] = {"threads": threads, "device": device, "resources": settings.resources}
    graph = choose_apart(artifact, **how) if settings.runtime == "auto" else None
    if graph is None:
        graph, runtime = choose(artifact, graphs, **how)
        runtime.close()
    return settings.model_copy(update={"runtime": RUNTIME_OF[graph.format], "precision": graph.precision})


def open_all(artifact: Artifact, settings: ModelSettings, layout: Layout, open_one: OpenRuntime) -> list[Pipeline]:
    """Every copy that the layout needs on every device."""
    pipelines: list[Pipeline] = []
    try:
        pipelines.append(Pipeline(artifact, open_one(artifact, settings, Place(settings.devices[0], layout.threads))))
        if settings.runtime == "auto":
            # Whatever it took, on whichever device: the copies of a model are alike.
            settings = settings.model_copy(update={"runtime": pipelines[0].runtime.name})
        for place in places(settings, layout, pipelines[0].runtime.name)[1:]:
            pipelines.append(Pipeline(artifact, open_one(artifact, settings, place)))
    except BaseException:
        close_all(pipelines)
        raise
    return pipelines


def close_all(pipelines: Sequence[Pipeline]) -> None:
    """Closes every copy."""
    for pipeline in pipelines:
        pipeline.close()


def graphs_of(pipelines: Sequence[Pipeline], workers: int) -> list[RunGraph]:
    """What each worker runs."""
    return [pipelines[index % len(pipelines)].runtime.run for index in range(workers)]


def decodes_in_worker(settings: ModelSettings, layout: Layout) -> bool:
    """Whether workers decode the images of their batches."""
    # A pool beside workers on every core would only take turns with them.
    return on_cpu(settings) and worker_count(settings, layout) >= usable_cores()


def noise_for(pipeline: Pipeline) -> Callable[[int], Tensors]:
    """Makes inputs of so many rows."""
    spec = pipeline.manifest.preproc

    def make(rows: int) -> Tensors:
        # Noise, since zeros take shortcuts in some kernels.
        pixels = np.random.default_rng(0).integers(0, 256, (rows, spec.height, spec.width, 3), np.uint8)
        return pipeline.encode(pixels)

    return make


def photograph_for(pipeline: Pipeline) -> Callable[[], Tensors]:
    """Decodes a JPEG that costs about what a photograph of 500 x 375 does."""
    random = np.random.default_rng(0)
    shapes = cv2.resize(random.integers(0, 256, (12, 16, 3), np.uint8), (500, 375), interpolation=cv2.INTER_CUBIC)
    grain = random.normal(0, 12, (375, 500, 1)).astype(np.int16)
    encoded = cv2.imencode(".jpg", np.clip(shapes + grain, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
    photograph: Any = encoded.tobytes()

    def prepare() -> Tensors:
        return pipeline.encode(pipeline.prepare(photograph).pixels[np.newaxis])

    return prepare
