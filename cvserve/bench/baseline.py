"""Measures the in-process baseline: the pipeline in its own process, called from threads, without a server."""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cvserve import artifact as artifacts
from cvserve.bench.images import read_images
from cvserve.bench.processes import Helper, serve_orders
from cvserve.pipeline import Pipeline
from cvserve.postproc import Options
from cvserve.runtimes import open_runtime
from cvserve.runtimes.device import Resources

_OPTIONS = Options(top_k=5)


@dataclass(frozen=True)
class CallPlan:
    """Describes how the pipeline is called.

    Args:
        callers: the number of threads that call the pipeline.
        threads: the CPU threads of the graph.
        batch: the images in each call.
    """

    callers: int
    threads: int
    batch: int

    def __str__(self) -> str:
        return f"{self.callers} callers x {self.threads} threads, batch {self.batch}"


class Baseline:
    """Starts the process that runs the pipeline, and sends it orders to measure."""

    def __init__(
        self,
        directory: Path,
        images: Path,
        runtime: str,
        precision: str | None,
        threads: int,
        devices: Sequence[str] = ("cpu",),
        resources: Resources | None = None,
    ) -> None:
        """
        Args:
            directory: the directory of the artifact's version.
            images: a folder that `write_images` filled.
            devices: the graph is opened once on each; the callers are divided among them.
            resources: the resources of each opened graph.
        """
        options = json.dumps(asdict(resources or Resources()))
        arguments = (str(directory), str(images), runtime, precision or "", str(threads), options, *devices)
        self._helper = Helper("cvserve.bench.baseline", *arguments)
        self.runtime: str = self._helper.ready
        self.threads = threads

    def rate(self, plan: CallPlan, seconds: float, *, graph_only: bool = False) -> dict[str, float]:
        """Measures for some seconds; returns {"rate": images per second, "cpu_ms": processor milliseconds per
        image}."""
        assert plan.threads == self.threads, "a process has one number of threads"
        return self._helper.ask(
            do="rate", callers=plan.callers, batch=plan.batch, seconds=seconds, graph_only=graph_only
        )

    def lone(self, seconds: float) -> dict[str, float]:
        """Measures one image at a time; returns the milliseconds {"p50", "p95", "p99"} of the whole, and the medians of
        the stages {"decode", "run", "postprocess"}."""
        return self._helper.ask(do="lone", seconds=seconds)

    def close(self) -> None:
        """Ends the process."""
        self._helper.close()


class _Measurements:
    """Measures inside the process."""

    def __init__(self, pipelines: Sequence[Pipeline], images: Sequence[bytes]) -> None:
        self._pipelines, self._images = pipelines, images

    def rate(self, *, callers: int, batch: int, seconds: float, graph_only: bool) -> dict[str, float]:
        spec = self._pipelines[0].manifest.preproc
        noise = np.random.default_rng(0).integers(0, 256, (batch, spec.height, spec.width, 3), np.uint8)
        feed = self._pipelines[0].encode(noise)
        for pipeline in self._pipelines:
            pipeline.runtime.run(feed)
        counts = [0] * callers
        start, cpu = time.perf_counter(), time.process_time()
        end = start + seconds

        def call(index: int) -> None:
            pipeline = self._pipelines[index % len(self._pipelines)]
            at = index % len(self._images)
            source = itertools.cycle([*self._images[at:], *self._images[:at]])
            while time.perf_counter() < end:
                if graph_only:
                    pipeline.runtime.run(feed)
                else:
                    pipeline.run([pipeline.prepare(next(source)) for _ in range(batch)], _OPTIONS)
                counts[index] += batch

        threads = [threading.Thread(target=call, args=(index,)) for index in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        total = sum(counts)
        return {
            "rate": total / (time.perf_counter() - start),
            "cpu_ms": (time.process_time() - cpu) * 1000 / max(1, total),
        }

    def lone(self, *, seconds: float) -> dict[str, float]:
        pipeline = self._pipelines[0]
        steps: dict[str, list[float]] = {"decode": [], "run": [], "postprocess": []}
        totals = []
        end = time.perf_counter() + seconds
        for image in itertools.cycle(self._images):
            start = time.perf_counter()
            prepared = pipeline.prepare(image)
            decoded = time.perf_counter()
            outputs = pipeline.runtime.run(pipeline.encode(prepared.pixels[np.newaxis]))
            ran = time.perf_counter()
            pipeline.finish(outputs, [prepared.geometry], _OPTIONS)
            done = time.perf_counter()
            for name, taken in zip(steps, (decoded - start, ran - decoded, done - ran), strict=True):
                steps[name].append(taken * 1000)
            totals.append((done - start) * 1000)
            if done >= end:
                break
        p50, p95, p99 = np.percentile(totals, (50, 95, 99)).tolist()
        stages = {name: statistics.median(times) for name, times in steps.items()}
        return {"p50": p50, "p95": p95, "p99": p99, **stages}


def main() -> None:
    """Opens the pipelines, then measures as each line of the standard input asks."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("directory", "images", "runtime", "precision"):
        parser.add_argument(name)
    parser.add_argument("threads", type=int)
    parser.add_argument("resources", type=json.loads)
    parser.add_argument("devices", nargs="+")
    arguments: Any = parser.parse_args()
    options = {
        "runtime": arguments.runtime,
        "precision": arguments.precision or None,
        "threads": arguments.threads,
        "resources": Resources(**arguments.resources),
    }
    with ExitStack() as stack:
        artifact = artifacts.read(arguments.directory)
        pipelines = [
            stack.enter_context(Pipeline(artifact, open_runtime(artifact, device=device, **options)))
            for device in arguments.devices
        ]
        measurements = _Measurements(pipelines, read_images(arguments.images))
        serve_orders({"rate": measurements.rate, "lone": measurements.lone}, pipelines[0].runtime.name)


if __name__ == "__main__":
    main()
