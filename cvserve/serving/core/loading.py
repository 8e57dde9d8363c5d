"""Loads a version from its directory: chooses the instance plan, opens the graphs, and runs every batch size once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from cvserve import artifact as artifacts
from cvserve.artifact import Artifact
from cvserve.errors import FailedPrecondition, OutOfMemory
from cvserve.extras import import_listener
from cvserve.pipeline import Pipeline
from cvserve.runtimes import Runtime
from cvserve.runtimes.cuda import MAX_SESSIONS
from cvserve.runtimes.tensorflow import TensorFlowRuntime
from cvserve.serving.core import without_manifest
from cvserve.serving.core.batching.execution import RunGraph, Tensors
from cvserve.serving.core.batching.policy import BatchLimits
from cvserve.serving.core.choosing import Chosen, chosen_for, one_size
from cvserve.serving.core.decode_pool import DecodePool
from cvserve.serving.core.loaded_model import LoadedModel
from cvserve.serving.core.loop_callbacks import LoopCallbacks
from cvserve.serving.core.measuring import run_all, sizes
from cvserve.serving.core.observer import Observer
from cvserve.serving.core.replicas import (
    OpenRuntime,
    Placement,
    candidates,
    close_all,
    decodes_in_worker,
    graphs_of,
    noise_for,
    of_one_graph,
    on_cpu,
    open_all,
    open_from_artifact,
    worker_count,
)
from cvserve.serving.core.repository import ModelVersion
from cvserve.serving.core.servable import Servable
from cvserve.serving.core.settings import EngineSettings, ModelSettings
from cvserve.serving.core.signatures import DETECT
from cvserve.serving.core.thread_names import GRAPHS, name_thread

_LOG = logging.getLogger(__name__)

FEW_SIZES = ("litert",)
"""Runtimes that keep an interpreter for each batch size, so that batches are padded to few sizes. On a GPU they are
too, since onnxruntime needs a session for each size there (`cvserve.runtimes.cuda`): one size where the memory is
limited."""


LoadModel = Callable[[Path, ModelSettings], LoadedModel]
"""A function that opens and warms the model in a version's directory, as `load` does."""


def load(
    directory: Path,
    settings: ModelSettings,
    open_one: OpenRuntime = open_from_artifact,
    warm_ups: Sequence[without_manifest.WarmUp] = (),
) -> LoadedModel:
    """Opens and warms a model. It takes seconds, so it must not be called on the event loop's thread.

    Args:
        directory: the directory of the version.
        settings: how it runs.
        open_one: opens one replica; replaced in tests.
        warm_ups: replay the requests that were recorded beside a model without a manifest.

    Raises:
        NotFound, ArtifactError, MissingExtra, FailedPrecondition, InvalidInput, OutOfMemory
    """
    if without_manifest.is_without_manifest(directory):
        return without_manifest.load(directory, settings, warm_ups)
    artifact = artifacts.read(directory)
    settings = of_one_graph(artifact, settings, candidates(settings, settings.runtime)[0].threads)
    chosen = chosen_for(artifact, settings, open_one)
    try:
        return _load(artifact, settings, chosen, open_one)
    except OutOfMemory as error:
        if not chosen.remembered:
            raise
        # Other models have taken memory since then.
        _LOG.info("the plan that was measured earlier does not fit into memory now, measuring again: %s", error)
    return _load(artifact, settings, chosen_for(artifact, settings, open_one, again=True), open_one)


def _load(artifact: Artifact, settings: ModelSettings, chosen: Chosen, open_one: OpenRuntime) -> LoadedModel:
    if settings.runtime == "auto" and chosen.runtime:
        # The plan was measured with this runtime.
        settings = settings.model_copy(update={"runtime": chosen.runtime})
    pipelines = open_all(artifact, settings, chosen.plan, open_one)
    workers = worker_count(settings, chosen.plan)
    try:
        limits = _limits(settings, chosen.max_rows, pipelines[0].runtime.name)
        warm(graphs_of(pipelines, workers), noise_for(pipelines[0]), limits)
        detect = _detect(pipelines)
        lone = None
        if chosen.lone is not None:
            lone = (open_one(artifact, settings, Placement(settings.devices[0], chosen.lone)), chosen.lone)
            lone[0].run(noise_for(pipelines[0])(limits.padded(1)))
    except BaseException:
        close_all(pipelines)
        raise
    return LoadedModel(
        tuple(pipelines),
        workers,
        chosen.plan.threads,
        limits,
        settings.bounds,
        settings.max_request_rows,
        decodes_in_worker=decodes_in_worker(settings, chosen.plan),
        detect=detect,
        devices=settings.devices,
        lone=lone,
    )


def _detect(pipelines: Sequence[Pipeline]) -> tuple[Runtime, ...]:
    """Returns the signature "detect" of each replica, run once; none where the model or the runtime does not have
    it."""
    has = any(graph.detect and graph.format == "saved_model" for graph in pipelines[0].manifest.graphs)
    runtimes = [pipeline.runtime for pipeline in pipelines]
    detectors = [
        runtime.with_signature(DETECT) for runtime in runtimes if has and isinstance(runtime, TensorFlowRuntime)
    ]
    for runtime in detectors:
        runtime.run(noise_for(pipelines[0])(1))
    return tuple(detectors)


def _limits(settings: ModelSettings, max_rows: int, runtime: str) -> BatchLimits:
    if not settings.batching and settings.max_batch_size is None and not settings.allowed_batch_sizes:
        # Without batching there is no reason to split the rows of a request.
        return settings.limits(settings.max_request_rows)
    limits = settings.limits(max_rows)
    most = 1 if one_size(settings, runtime) else MAX_SESSIONS
    if runtime == "onnx" and not on_cpu(settings) and len(limits.allowed_rows) > most:
        raise FailedPrecondition(
            f"on a GPU onnxruntime needs a session for each of the allowed_batch_sizes, and {len(limits.allowed_rows)} "
            f"are more than the {most} that are kept" + (" with gpu_memory_mib" if most == 1 else "")
        )
    if settings.batching and not limits.allowed_rows:
        if one_size(settings, runtime):
            return replace(limits, allowed_rows=(max_rows,))
        if runtime in FEW_SIZES or not on_cpu(settings):
            return replace(limits, allowed_rows=_few(max_rows))
    return limits


def _few(largest: int) -> tuple[int, ...]:
    """Returns at most four sizes up to the largest, each at least twice the one before."""
    steps = sizes(largest)
    return (*steps[:-1][-3:], largest) if len(steps) <= 4 else (1, *steps[:-1][-2:], largest)


def warm(graphs: Sequence[RunGraph], make: Callable[[int], Tensors], limits: BatchLimits) -> None:
    """Runs every batch size that will be used, or each power of two up to the largest, once on every worker."""
    used = limits.allowed_rows or (sizes(limits.max_rows) if limits.batching else (1,))
    with ThreadPoolExecutor(len(graphs)) as pool:
        for size in used:
            run_all(pool, graphs, make(size))


@dataclass(frozen=True)
class VersionLoader:
    """Loads versions for the `Manager`. Called on the loop's thread.

    Attributes:
        load_model: opens a version's directory; replaced in tests.
        settings: the settings of the models.
        decode: decodes the images that the workers do not decode.
        callbacks: run on the loop what the workers hand over.
        observer: gets the seconds that loading took, and what happens to requests.
        on_import: is called when a model has imported a library, before the library is used.
    """

    load_model: LoadModel
    settings: EngineSettings
    decode: DecodePool
    callbacks: LoopCallbacks
    observer: Observer
    on_import: Callable[[], None] = lambda: None

    async def __call__(self, source: ModelVersion) -> Servable:
        """Returns the version, ready to answer.

        Raises:
            CvserveError: it cannot be loaded.
        """
        settings = source.settings or self.settings.of_model(source.name)
        began = time.monotonic()
        thread = ThreadPoolExecutor(1, "load")
        try:
            model = await asyncio.get_running_loop().run_in_executor(thread, self._open, source, settings)
        finally:
            thread.shutdown(wait=False)
        self.observer.loaded(source.name, source.version, time.monotonic() - began)
        return Servable(
            source.name,
            source.version,
            model,
            self.decode,
            self.callbacks,
            self.observer,
            settings.max_pixels,
        )

    def _open(self, source: ModelVersion, settings: ModelSettings) -> LoadedModel:
        if not source.explicitly_requested:
            without_manifest.check_complete(source.directory)
        # A runtime starts the threads of its graphs here; they inherit its name.
        name_thread(f"{GRAPHS}{source.name}")
        with import_listener(self.on_import):
            return self.load_model(source.directory, settings)
