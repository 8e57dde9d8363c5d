"""From a version directory to a LoadedModel: layout chosen, graphs open, every batch size run once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cvserve import artifact as artifacts
from cvserve.artifact import Artifact
from cvserve.pipeline import Pipeline
from cvserve.runtimes import FORMAT_OF, Runtime, open_runtime
from cvserve.runtimes.choose_apart import choose_apart
from cvserve.runtimes.device import usable_cores
from cvserve.runtimes.instances import CONCURRENT, Layout
from cvserve.runtimes.opening import open_candidate
from cvserve.runtimes.remembering import accelerators, key_of, package_version, processor, recall, remember
from cvserve.runtimes.tensorflow import TensorFlowRuntime
from cvserve.serving.core import foreign
from cvserve.serving.core.batch_policy import BatchLimits
from cvserve.serving.core.config import ModelSettings
from cvserve.serving.core.execution import RunGraph, Tensors
from cvserve.serving.core.loaded_model import LoadedModel
from cvserve.serving.core.measuring import (
    Score,
    Trial,
    choose,
    good_batches,
    is_worthwhile,
    lone_threads,
    race,
    run_all,
    sizes,
)
from cvserve.serving.core.placement import Place, candidates, on_cpu, places, worker_count
from cvserve.serving.core.signatures import DETECT

FEW_SIZES = ("litert",)
"""Runtimes that keep an interpreter for each batch size, and few of them: batches are padded to few sizes. So they are
on a GPU, where onnxruntime needs a session for each (`cvserve.runtimes.cuda`): to one where the memory is limited."""

OpenRuntime = Callable[[Artifact, ModelSettings, Place], Runtime]

LONE_COPY_BYTES = 256 << 20
"""Of a graph that is not loaded once more for lone requests."""

STEADY = 0.85
"""Less than this, and what was measured is measured again an hour later: something else had the machine."""

UNSTEADY_SECONDS = 3600.0

_MEMORY = "layouts"
_LIBRARIES = ("tensorflow", "onnxruntime", "ai-edge-litert")


def open_from_artifact(artifact: Artifact, settings: ModelSettings, place: Place) -> Runtime:
    how: dict[str, Any] = {"threads": place.threads, "device": place.device, "resources": settings.resources}
    if settings.runtime == "auto":
        graph = choose_apart(artifact, precision=settings.precision, **how)
        if graph is not None:
            return open_candidate(artifact, graph, **how)
    return open_runtime(artifact, runtime=settings.runtime, precision=settings.precision, **how)


def load(directory: Path, settings: ModelSettings, open_one: OpenRuntime = open_from_artifact) -> LoadedModel:
    """Opens and warms a model. Takes seconds: not for the event loop's thread.

    Raises:
        NotFound, ArtifactError, MissingExtra, FailedPrecondition, InvalidInput
    """
    if foreign.is_foreign(directory):
        return foreign.load(directory, settings)
    artifact = artifacts.read(directory)
    chosen = _chosen(artifact, settings, open_one)
    if settings.runtime == "auto" and chosen.runtime:
        # The layout was measured with this one.
        settings = settings.model_copy(update={"runtime": chosen.runtime})
    pipelines = _open_all(artifact, settings, chosen.layout, open_one)
    workers = worker_count(settings, chosen.layout)
    try:
        limits = _limits(settings, chosen.max_rows, pipelines[0].runtime.name)
        warm(_graphs(pipelines, workers), _noise(pipelines[0]), limits)
        detect = _detect(pipelines)
        lone = None
        if chosen.lone is not None:
            lone = (open_one(artifact, settings, Place(settings.devices[0], chosen.lone)), chosen.lone)
            lone[0].run(_noise(pipelines[0])(limits.padded(1)))
    except BaseException:
        _close(pipelines)
        raise
    return LoadedModel(
        tuple(pipelines),
        workers,
        chosen.layout.threads,
        limits,
        settings.bounds,
        settings.max_request_rows,
        decodes_in_worker=_decodes_in_worker(settings, chosen.layout),
        detect=detect,
        devices=settings.devices,
        lone=lone,
    )


@dataclass(frozen=True)
class _Chosen:
    """max_rows: the largest batch. runtime: with which it was measured; empty where nothing was. steady: whether the
    machine was left alone meanwhile. lone: threads of a copy for lone requests; None: they run as all do."""

    layout: Layout
    max_rows: int
    runtime: str = ""
    steady: bool = True
    lone: int | None = None


def _chosen(artifact: Artifact, settings: ModelSettings, open_one: OpenRuntime) -> _Chosen:
    """What the settings say, and otherwise what was measured, now or at an earlier load."""
    layouts = candidates(settings, settings.runtime)
    rows_known = settings.largest_batch is not None or not settings.batching
    if rows_known and len(layouts) == 1:
        return _Chosen(layouts[0], settings.largest_batch or 1)
    key = _key(artifact, settings)
    remembered = _remembered(recall(_MEMORY, key))
    if remembered is not None:
        return remembered
    chosen = _measured(artifact, settings, layouts[0], open_one)
    content = {
        "instances": chosen.layout.instances,
        "threads": chosen.layout.threads,
        "max_rows": chosen.max_rows,
        "runtime": chosen.runtime,
        "steady": chosen.steady,
        "lone": chosen.lone,
        "measured": time.time(),
    }
    remember(_MEMORY, key, content)
    return chosen


def _remembered(content: dict[str, Any]) -> _Chosen | None:
    try:
        if not content["steady"] and time.time() - float(content["measured"]) > UNSTEADY_SECONDS:
            return None
        layout = Layout(int(content["instances"]), int(content["threads"]))
        lone = content["lone"]
        return _Chosen(
            layout, int(content["max_rows"]), str(content["runtime"]), lone=None if lone is None else int(lone)
        )
    except (KeyError, TypeError, ValueError):
        return None  # nothing there, or something damaged


def _measured(artifact: Artifact, settings: ModelSettings, first: Layout, open_one: OpenRuntime) -> _Chosen:
    """Opens every layout that is worth it, finds the best batch of each, and lets them race."""
    opened = {first: _open_all(artifact, settings, first, open_one)}
    try:
        runtime = opened[first][0].runtime.name
        same = settings.model_copy(update={"runtime": runtime}) if settings.runtime == "auto" else settings
        layouts = (first, *(other for other in candidates(same, runtime) if other != first))
        trials: dict[tuple[Layout, int], Trial] = {}
        for layout in layouts:
            if layout not in opened:
                shared = _same_copies(opened, layout, runtime)
                opened[layout] = shared or _open_all(artifact, same, layout, open_one)
            pipelines = opened[layout]
            graphs = _graphs(pipelines, worker_count(settings, layout))
            if settings.largest_batch is not None or not settings.batching:
                batches: Sequence[int] = (settings.largest_batch or 1,)
            else:
                batches = good_batches(graphs, _noise(pipelines[0]))
            for rows in batches:
                trials[layout, rows] = Trial(graphs, rows, _decodes_in_worker(settings, layout))
        if len(trials) == 1:
            ((layout, rows),) = trials
            return _Chosen(layout, rows, runtime)
        raced = race(trials, _photograph(opened[first][0]), usable_cores())
        scores, rows_of = _with_their_batch(raced)
        worth_two = _worth_two(artifact, settings, runtime)
        chosen = choose(scores, lone_copy=worth_two)
        steady = all(score.steady >= STEADY for score in raced.values())
        lone = lone_threads(scores, chosen) if worth_two else None
        return _Chosen(chosen, rows_of[chosen], runtime, steady, lone)
    finally:
        # Runtimes keep the memory of the largest batch they ever ran.
        for pipelines in opened.values():
            _close(pipelines)


def _with_their_batch(raced: Mapping[tuple[Layout, int], Score]) -> tuple[dict[Layout, Score], dict[Layout, int]]:
    """Of each layout the score and the rows of the batch that it is best served with."""
    rows: dict[Layout, int] = {}
    for (layout, batch), score in sorted(raced.items(), key=lambda item: item[0][1]):
        known = rows.get(layout)
        if known is None or is_worthwhile(batch, score.rate, known, raced[layout, known].rate):
            rows[layout] = batch
    return {layout: raced[layout, batch] for layout, batch in rows.items()}, rows


def _worth_two(artifact: Artifact, settings: ModelSettings, runtime: str) -> bool:
    """Whether the graph may be loaded once more for lone requests."""
    sizes = [graph.bytes for graph in artifact.manifest.graphs if graph.format == FORMAT_OF.get(runtime)]
    return on_cpu(settings) and max(sizes, default=0) <= LONE_COPY_BYTES


def _same_copies(opened: dict[Layout, list[Pipeline]], wanted: Layout, runtime: str) -> list[Pipeline] | None:
    """The copies of another layout that serve this one too, so that a large model is in memory less often."""
    if runtime not in CONCURRENT:
        return None
    return next((pipelines for layout, pipelines in opened.items() if layout.threads == wanted.threads), None)


def _key(artifact: Artifact, settings: ModelSettings) -> str:
    """By the sizes of the files, not their contents, so that the versions of one network share what was measured."""
    manifest = artifact.manifest
    return key_of(
        {
            "graphs": sorted([graph.format, graph.precision, graph.bytes] for graph in manifest.graphs if graph.usable),
            "picture": [manifest.preproc.height, manifest.preproc.width],
            "rule": 2,  # of the choice: what was chosen by an earlier one is measured again
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


def _open_all(artifact: Artifact, settings: ModelSettings, layout: Layout, open_one: OpenRuntime) -> list[Pipeline]:
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
        _close(pipelines)
        raise
    return pipelines


def _decodes_in_worker(settings: ModelSettings, layout: Layout) -> bool:
    # A pool beside workers on every core would only take turns with them.
    return on_cpu(settings) and worker_count(settings, layout) >= usable_cores()


def _graphs(pipelines: Sequence[Pipeline], workers: int) -> list[RunGraph]:
    return [pipelines[index % len(pipelines)].runtime.run for index in range(workers)]


def _detect(pipelines: Sequence[Pipeline]) -> tuple[Runtime, ...]:
    """The signature of that name of each copy, run once; none where the model or the runtime has it not."""
    has = any(graph.detect and graph.format == "saved_model" for graph in pipelines[0].manifest.graphs)
    runtimes = [pipeline.runtime for pipeline in pipelines]
    found = [runtime.with_signature(DETECT) for runtime in runtimes if has and isinstance(runtime, TensorFlowRuntime)]
    for runtime in found:
        runtime.run(_noise(pipelines[0])(1))
    return tuple(found)


def _close(pipelines: Sequence[Pipeline]) -> None:
    for pipeline in pipelines:
        pipeline.close()


def _limits(settings: ModelSettings, max_rows: int, runtime: str) -> BatchLimits:
    if not settings.batching and settings.max_batch_size is None and not settings.allowed_batch_sizes:
        # A request's own rows stay together: without batching there is no reason to split them.
        return settings.limits(settings.max_request_rows)
    limits = settings.limits(max_rows)
    if settings.batching and not limits.allowed_rows:
        if not on_cpu(settings) and settings.gpu_memory_mib is not None:
            return replace(limits, allowed_rows=(max_rows,))
        if runtime in FEW_SIZES or not on_cpu(settings):
            return replace(limits, allowed_rows=_few(max_rows))
    return limits


def _few(largest: int) -> tuple[int, ...]:
    """At most four sizes up to the largest, each at least twice the one before."""
    steps = sizes(largest)
    return (*steps[:-1][-3:], largest) if len(steps) <= 4 else (1, *steps[:-1][-2:], largest)


def warm(graphs: Sequence[RunGraph], make: Callable[[int], Tensors], limits: BatchLimits) -> None:
    """Runs every batch size that will be used, or each power of two up to the largest, once on every worker."""
    used = limits.allowed_rows or (sizes(limits.max_rows) if limits.batching else (1,))
    with ThreadPoolExecutor(len(graphs)) as pool:
        for size in used:
            run_all(pool, graphs, make(size))


def _noise(pipeline: Pipeline) -> Callable[[int], Tensors]:
    spec = pipeline.manifest.preproc

    def make(rows: int) -> Tensors:
        # Noise, since zeros take shortcuts in some kernels.
        pixels = np.random.default_rng(0).integers(0, 256, (rows, spec.height, spec.width, 3), np.uint8)
        return pipeline.encode(pixels)

    return make


def _photograph(pipeline: Pipeline) -> Callable[[], Tensors]:
    """Decodes a JPEG that costs about what a photograph of 500 x 375 does."""
    random = np.random.default_rng(0)
    shapes = cv2.resize(random.integers(0, 256, (12, 16, 3), np.uint8), (500, 375), interpolation=cv2.INTER_CUBIC)
    grain = random.normal(0, 12, (375, 500, 1)).astype(np.int16)
    encoded = cv2.imencode(".jpg", np.clip(shapes + grain, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
    photograph: Any = encoded.tobytes()

    def prepare() -> Tensors:
        return pipeline.encode(pipeline.prepare(photograph).pixels[np.newaxis])

    return prepare
