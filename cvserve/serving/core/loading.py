"""From a version directory to a LoadedModel: layout chosen, graphs open, every batch size run once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from cvserve import artifact as artifacts
from cvserve.artifact import Artifact
from cvserve.pipeline import Pipeline
from cvserve.runtimes import Runtime, open_runtime
from cvserve.runtimes.device import usable_cores
from cvserve.runtimes.instances import CONCURRENT, layout
from cvserve.serving.core.config import ModelSettings
from cvserve.serving.core.execution import RunGraph, Tensors
from cvserve.serving.core.servable import LoadedModel

_LOG = logging.getLogger(__name__)

MOST_ROWS = 32
"""The largest batch that is tried when max_batch_size is not given."""

WORTHWHILE = 0.04
"""A larger batch must be this much faster a picture: what it costs is the wait of its first picture."""

HAND_OVER_SECONDS = 0.0003
"""What a batch costs beside its run: joining, waking a worker and the loop (measured under load, on 2 cores)."""

TIMED_RUNS = 4
"""Of each batch size; the fastest counts, since whatever else the machine does only makes a run slower."""

LONGEST_BATCH_SECONDS = 2.0
"""Larger batches are not tried once a batch takes this long."""

OpenRuntime = Callable[[Artifact, ModelSettings, int], Runtime]


def open_from_artifact(artifact: Artifact, settings: ModelSettings, threads: int) -> Runtime:
    return open_runtime(
        artifact,
        runtime=settings.runtime,
        threads=threads,
        precision=settings.precision,
        device=settings.device,
    )


def load(directory: Path, settings: ModelSettings, open_one: OpenRuntime = open_from_artifact) -> LoadedModel:
    """Opens and warms a model. Takes seconds: not for the event loop's thread.

    Raises:
        NotFound, ArtifactError, MissingExtra, FailedPrecondition, InvalidInput
    """
    artifact = artifacts.read(directory)
    workers, threads = layout(settings.instances, settings.threads, usable_cores())
    pipelines = [Pipeline(artifact, open_one(artifact, settings, threads))]
    try:
        if pipelines[0].runtime.name not in CONCURRENT:
            pipelines += [Pipeline(artifact, open_one(artifact, settings, threads)) for _ in range(workers - 1)]
        graphs = [pipelines[index % len(pipelines)].runtime.run for index in range(workers)]
        max_rows = warm(graphs, _pixels(pipelines[0]), settings)
    except BaseException:
        for pipeline in pipelines:
            pipeline.close()
        raise
    return LoadedModel(
        tuple(pipelines), workers, threads, settings.limits(max_rows), settings.bounds, settings.max_request_rows
    )


def warm(graphs: Sequence[RunGraph], make: Callable[[int], Tensors], settings: ModelSettings) -> int:
    """Runs every batch size that will be used once on every worker, and decides the largest.

    Args:
        graphs: what each worker runs.
        make: inputs of that many rows.

    Returns:
        The largest batch: what the settings say, or else the smallest that is nearly as fast a row as the best, with
        all workers running at the same time.
    """
    largest = settings.max_batch_size or (settings.allowed_batch_sizes or (None,))[-1]
    sizes = settings.allowed_batch_sizes or (1,) if not settings.batching else _sizes(settings, largest)
    best, best_rate = 1, 0.0
    with ThreadPoolExecutor(len(graphs)) as pool:
        for size in sizes:
            inputs = make(size)
            # The first run traces, packs and allocates; what it took tells nothing of the next ones.
            _run_all(pool, graphs, inputs)
            if largest is not None:
                continue
            duration = min(_run_all(pool, graphs, inputs) for _ in range(TIMED_RUNS))
            rate = size * len(graphs) / (duration + HAND_OVER_SECONDS)
            _LOG.debug("batch of %d: %.1f rows/s with %d workers", size, rate, len(graphs))
            if rate > best_rate * (1 + WORTHWHILE):
                best, best_rate = size, rate
            elif size >= 4 * best:
                break
            if duration > LONGEST_BATCH_SECONDS:
                break
    return best if largest is None else largest


def _sizes(settings: ModelSettings, largest: int | None) -> Sequence[int]:
    if settings.allowed_batch_sizes:
        return settings.allowed_batch_sizes
    end = MOST_ROWS if largest is None else largest
    sizes, size = [], 1
    while size < end:
        sizes.append(size)
        size *= 2
    return (*sizes, end)


def _run_all(pool: ThreadPoolExecutor, graphs: Sequence[RunGraph], inputs: Tensors) -> float:
    """Seconds until every worker has run the batch, all at the same time."""
    start = time.perf_counter()
    for future in [pool.submit(graph, inputs, None) for graph in graphs]:
        future.result()
    return time.perf_counter() - start


def _pixels(pipeline: Pipeline) -> Callable[[int], Tensors]:
    spec = pipeline.manifest.preproc

    def make(rows: int) -> Tensors:
        # Noise, since zeros take shortcuts in some kernels.
        pixels = np.random.default_rng(0).integers(0, 256, (rows, spec.height, spec.width, 3), np.uint8)
        return pipeline.encode(pixels)

    return make
