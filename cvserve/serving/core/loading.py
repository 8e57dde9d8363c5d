"""From a version directory to a LoadedModel: layout chosen, graphs open, every batch size run once."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from cvserve import artifact as artifacts
from cvserve.artifact import Artifact
from cvserve.pipeline import Pipeline
from cvserve.runtimes import Runtime, open_runtime
from cvserve.runtimes.device import usable_cores
from cvserve.runtimes.instances import CONCURRENT, layout
from cvserve.serving.core.batch_policy import BatchLimits
from cvserve.serving.core.config import ModelSettings
from cvserve.serving.core.execution import RunGraph, Tensors
from cvserve.serving.core.servable import LoadedModel

_LOG = logging.getLogger(__name__)

MOST_ROWS = 32
"""The largest batch that is tried when max_batch_size is not given."""

WORTHWHILE = 0.04
"""How much faster a row must be for each doubling of the batch: what it costs is the wait of the first picture."""

HAND_OVER_SECONDS = 0.00125
"""What a batch costs beside its run, in the server and in its clients, on whom answers come one by one or together
(measured with 64 clients on the same 2 cores: 1.36 times the pipeline's own time in batches of 1, 1.23 in 4)."""

TURNS = 3
"""Timed runs of each batch size after the first look; the fastest counts."""

HOPELESS = 0.8
"""A batch size this much slower than the best at the first look ends the search."""

LONGEST_BATCH_SECONDS = 1.0
"""Larger batches are not tried once a batch takes this long."""

FEW_SIZES = ("litert",)
"""Runtimes that keep an interpreter for each batch size, and few of them: batches are padded to few sizes."""

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

    def opened() -> list[Pipeline]:
        pipelines = [Pipeline(artifact, open_one(artifact, settings, threads))]
        if pipelines[0].runtime.name not in CONCURRENT:
            pipelines += [Pipeline(artifact, open_one(artifact, settings, threads)) for _ in range(workers - 1)]
        return pipelines

    pipelines: list[Pipeline] = []
    try:
        if settings.batching and settings.largest_batch is None:
            pipelines = opened()
            max_rows = measured(_graphs(pipelines, workers), _pixels(pipelines[0]))
            # Runtimes keep the memory of the largest batch they ever ran.
            _close(pipelines)
        else:
            max_rows = settings.largest_batch or 1
        pipelines = opened()
        limits = _limits(settings, max_rows, pipelines[0].runtime.name)
        warm(_graphs(pipelines, workers), _pixels(pipelines[0]), limits)
    except BaseException:
        _close(pipelines)
        raise
    return LoadedModel(
        tuple(pipelines),
        workers,
        threads,
        limits,
        settings.bounds,
        settings.max_request_rows,
        # A pool beside workers on every core would only take turns with them.
        decodes_in_worker=settings.device == "cpu" and workers >= usable_cores(),
    )


def _graphs(pipelines: Sequence[Pipeline], workers: int) -> list[RunGraph]:
    return [pipelines[index % len(pipelines)].runtime.run for index in range(workers)]


def _close(pipelines: Sequence[Pipeline]) -> None:
    for pipeline in pipelines:
        pipeline.close()


def _limits(settings: ModelSettings, max_rows: int, runtime: str) -> BatchLimits:
    if not settings.batching and settings.max_batch_size is None and not settings.allowed_batch_sizes:
        # A request's own rows stay together: without batching there is no reason to split them.
        return settings.limits(settings.max_request_rows)
    limits = settings.limits(max_rows)
    if settings.batching and runtime in FEW_SIZES and not limits.allowed_rows:
        return replace(limits, allowed_rows=_few(max_rows))
    return limits


def _few(largest: int) -> tuple[int, ...]:
    """At most four sizes up to the largest, each at least twice the one before."""
    sizes = _sizes(largest)
    return (*sizes[:-1][-3:], largest) if len(sizes) <= 4 else (1, *sizes[:-1][-2:], largest)


def warm(graphs: Sequence[RunGraph], make: Callable[[int], Tensors], limits: BatchLimits) -> None:
    """Runs every batch size that will be used, or each power of two up to the largest, once on every worker."""
    sizes = limits.allowed_rows or (_sizes(limits.max_rows) if limits.batching else (1,))
    with ThreadPoolExecutor(len(graphs)) as pool:
        for size in sizes:
            _run_all(pool, graphs, make(size))


def measured(graphs: Sequence[RunGraph], make: Callable[[int], Tensors]) -> int:
    """The smallest batch that answers nearly as many rows a second as the best one, all workers at the same time.

    Args:
        graphs: what each worker runs.
        make: inputs of that many rows.
    """
    with ThreadPoolExecutor(len(graphs)) as pool:
        return _measured(pool, graphs, make)


def _measured(pool: ThreadPoolExecutor, graphs: Sequence[RunGraph], make: Callable[[int], Tensors]) -> int:
    fastest: dict[int, float] = {}

    def rate(size: int) -> float:
        return size * len(graphs) / (fastest[size] + HAND_OVER_SECONDS)

    for size in _sizes(MOST_ROWS):
        inputs = make(size)
        # The first run traces, packs and allocates; what it took tells nothing of the next ones.
        _run_all(pool, graphs, inputs)
        fastest[size] = _run_all(pool, graphs, inputs)
        if fastest[size] > LONGEST_BATCH_SECONDS or rate(size) < HOPELESS * max(map(rate, fastest)):
            break
    # In turns, so that whatever else the machine does meets all sizes; it only ever makes a run slower.
    for _ in range(TURNS):
        for size in fastest:
            fastest[size] = min(fastest[size], _run_all(pool, graphs, make(size)))
    best = 1
    for size in fastest:
        if rate(size) > rate(best) * (1 + WORTHWHILE) ** math.log2(size / best):
            best = size
    _LOG.info("rows a second by batch size: %s", {size: round(rate(size), 1) for size in fastest})
    return best


def _sizes(largest: int) -> Sequence[int]:
    """1, 2, 4, ... and the largest."""
    return (*(1 << power for power in range(largest.bit_length()) if 1 << power < largest), largest)


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
