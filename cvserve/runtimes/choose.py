"""Opens an artifact's graph; with `auto` the fastest one on this machine.

Every candidate runs for a short time with one image and with eight. The choice is remembered in a file, so that only
the first load on a machine measures. The key of that file is everything that the choice depends on: the graphs'
hashes, the processor, the threads, the device and the versions of the libraries.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cvserve.artifact import Artifact, Graph, Manifest
from cvserve.errors import CvserveError
from cvserve.runtimes.base import LIBRARIES, RUNTIME_OF, Runtime, TensorInfo
from cvserve.runtimes.device import Resources, usable_cores
from cvserve.runtimes.opening import candidates as usable_graphs
from cvserve.runtimes.opening import open_candidate
from cvserve.runtimes.remembering import accelerators, key_of, package_version, processor, recall, remember

_LOG = logging.getLogger(__name__)

BATCHES = (1, 8)
BUDGET_SECONDS = 1.0
"""Seconds of timed calls for each graph and batch size; the first calls (tracing, packing) are not timed."""

_MEMORY = "fastest"
_CALLS_A_TURN = 3
_MAX_TURNS = 17
_MAX_CALLS = 50


def open_runtime(
    artifact: Artifact,
    runtime: str = "auto",
    threads: int | None = None,
    precision: str | None = None,
    device: str = "cpu",
    resources: Resources | None = None,
) -> Runtime:
    """Opens a graph of an artifact.

    Args:
        artifact: the artifact that `cvserve.artifact.read` returned.
        runtime: "tensorflow", "onnx", "litert", or "auto": the fastest here, measured once and remembered (see
            `choose`) among the graphs whose parity holds and whose library is installed.
        threads: CPU threads of a call; None takes every core.
        precision: only graphs of this precision; None takes any.
        device: "cpu" or "gpu:N"; "auto" then leaves LiteRT out.
        resources: other threads and GPU memory; None: the defaults of `Resources`.

    Raises:
        InvalidInput: no such runtime.
        NotFound: the artifact has no such graph.
        MissingExtra: the library of the requested runtime is not installed.
        FailedPrecondition: nothing installed can run the model.
        ArtifactError: a library does not take its file.
    """
    graphs = usable_graphs(artifact, runtime, precision, device)
    if len(graphs) > 1:
        return choose(artifact, graphs, threads=threads, device=device, resources=resources)[1]
    return open_candidate(artifact, graphs[0], threads=threads, device=device, resources=resources)


def choose(
    artifact: Artifact,
    candidates: Sequence[Graph],
    *,
    threads: int | None,
    device: str,
    resources: Resources | None = None,
) -> tuple[Graph, Runtime]:
    """Returns the fastest of the candidates, and its opened runtime.

    A candidate that cannot be opened, or run with one image and with eight, is skipped with a line in the log. The
    remembered candidate is only run with one image.

    Raises:
        CvserveError: the error of the last candidate, if none can be run.
    """
    key = _key(candidates, threads, device)
    remembered = recall(_MEMORY, key).get("graph")
    how: dict[str, Any] = {"threads": threads, "device": device, "resources": resources}
    for graph in candidates:
        if graph.path == remembered:
            try:
                return graph, _open_and_run(artifact, graph, BATCHES[:1], **how)
            except CvserveError as error:
                _LOG.info("auto measures again, since %s, the fastest so far, cannot be used: %s", graph.path, error)
    best, runtime = _measure_all(artifact, candidates, key, **how)
    return next(graph for graph in candidates if graph.path == best), runtime


def is_known(candidates: Sequence[Graph], threads: int | None, device: str) -> bool:
    """Returns whether `choose` remembers which of them is the fastest."""
    return recall(_MEMORY, _key(candidates, threads, device)).get("graph") in {graph.path for graph in candidates}


def _measure_all(
    artifact: Artifact,
    candidates: Sequence[Graph],
    key: str,
    *,
    threads: int | None,
    device: str,
    resources: Resources | None,
) -> tuple[str, Runtime]:
    """Measures all candidates; returns the path of the fastest, and its opened runtime."""
    running: dict[str, Runtime] = {}
    failure: CvserveError | None = None
    for graph in candidates:
        try:
            running[graph.path] = _open_and_run(
                artifact, graph, BATCHES, threads=threads, device=device, resources=resources
            )
        except CvserveError as error:
            _LOG.warning("auto skips %s: %s", graph.path, error)
            failure = error
    if not running:
        assert failure is not None, "there is at least one candidate"
        raise failure
    if len(running) == 1:
        # There is nothing to compare; the choice is not remembered, for the reason below.
        return next(iter(running.items()))
    timings = time_in_turns(running, artifact.manifest)
    best = min(timings, key=lambda path: milliseconds_an_image(timings[path]))
    for path, runtime in running.items():
        if path != best:
            runtime.close()
    rounded = {path: {str(batch): round(value, 3) for batch, value in times.items()} for path, times in timings.items()}
    if failure is None:
        # After a failure the choice may differ the next time, so it is not remembered.
        remember(_MEMORY, key, {"graph": best, "milliseconds": rounded})
    _LOG.info("auto chose %s for %s: %s", best, artifact.directory, rounded)
    return best, running[best]


def _open_and_run(
    artifact: Artifact,
    graph: Graph,
    batches: Sequence[int],
    *,
    threads: int | None,
    device: str,
    resources: Resources | None,
) -> Runtime:
    """Opens a graph and runs it once with each of the batch sizes."""
    runtime = open_candidate(artifact, graph, threads=threads, device=device, resources=resources)
    try:
        for batch in batches:
            runtime.run(_feed(runtime, batch, artifact.manifest))
    except CvserveError:
        runtime.close()
        raise
    return runtime


def time_in_turns(runtimes: Mapping[str, Runtime], manifest: Manifest) -> dict[str, dict[int, float]]:
    """Returns the shortest milliseconds of a call, by runtime and batch size.

    The runtimes take turns, and only the best call of each counts, so that other work on the machine has no influence.
    """
    best: dict[str, dict[int, float]] = {name: {} for name in runtimes}
    for batch in BATCHES:
        feeds = {name: _feed(runtime, batch, manifest) for name, runtime in runtimes.items()}
        for name, runtime in runtimes.items():
            runtime.run(feeds[name])
        remaining = dict.fromkeys(runtimes, BUDGET_SECONDS * 1000)
        while remaining:
            for name in list(remaining):
                times = [_time(runtimes[name], feeds[name]) for _ in range(_CALLS_A_TURN if batch in best[name] else 1)]
                best[name][batch] = min([*times, best[name].get(batch, times[0])])
                remaining[name] -= max(sum(times), BUDGET_SECONDS * 1000 / _MAX_TURNS)
                if remaining[name] <= 0:
                    del remaining[name]
    return best


def measure(
    runtime: Runtime,
    manifest: Manifest,
    batches: Sequence[int] = BATCHES,
    budget_seconds: float = BUDGET_SECONDS,
) -> dict[int, float]:
    """Returns the median milliseconds of a call on random images, by batch size."""
    measured: dict[int, float] = {}
    for batch in batches:
        feed = _feed(runtime, batch, manifest)
        runtime.run(feed)
        times = [_time(runtime, feed)]
        while sum(times) < budget_seconds * 1000 and len(times) < _MAX_CALLS:
            times.append(_time(runtime, feed))
        measured[batch] = statistics.median(times)
    return measured


def _time(runtime: Runtime, feed: Mapping[str, np.ndarray]) -> float:
    start = time.perf_counter()
    runtime.run(feed)
    return (time.perf_counter() - start) * 1000


def _feed(runtime: Runtime, batch: int, manifest: Manifest) -> dict[str, np.ndarray]:
    return {name: _random(info, batch, manifest) for name, info in runtime.inputs.items()}


def milliseconds_an_image(measured: dict[int, float]) -> float:
    """Returns the geometric mean, over the batch sizes, of the milliseconds per image.

    In the geometric mean "twice as fast alone" and "twice as fast in a batch" count the same.
    """
    return statistics.geometric_mean([milliseconds / batch for batch, milliseconds in measured.items()])


def _random(info: TensorInfo, batch: int, manifest: Manifest) -> np.ndarray:
    height, width = manifest.preproc.height, manifest.preproc.width
    sizes = (height, width, 3) if manifest.input.layout == "NHWC" else (3, height, width)
    image = (batch, *sizes) if len(info.shape) == 4 else (batch, 1, 1, 1)
    shape = [free if size is None else size for size, free in zip(info.shape, image, strict=False)]
    random = np.random.default_rng(0)
    kind = np.dtype(info.dtype)
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        high = min(int(limits.max), 255) + 1
        return random.integers(max(int(limits.min), -128), high, size=shape).astype(kind)
    return random.random(shape).astype(kind)


def _key(candidates: Sequence[Graph], threads: int | None, device: str) -> str:
    libraries = {graph.format: LIBRARIES[RUNTIME_OF[graph.format]] for graph in candidates}
    facts = {
        "graphs": sorted([graph.path, *(file.sha256 for file in graph.files)] for graph in candidates),
        "processor": processor(),
        "threads": threads or usable_cores(),
        "device": [device, *accelerators([device])],
        "versions": {name: package_version(library.package) for name, library in libraries.items()},
    }
    return key_of(facts)
