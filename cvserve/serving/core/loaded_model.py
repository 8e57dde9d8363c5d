"""A model whose graphs are open and warm, before it takes requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cvserve.artifact import Manifest
from cvserve.pipeline import Pipeline
from cvserve.runtimes import Runtime
from cvserve.serving.core.batching.execution import Entries, RunGraph, WithLone
from cvserve.serving.core.batching.policy import BatchLimits, QueueBounds
from cvserve.serving.core.signatures import DEFAULT, DETECT, Signature


@dataclass(frozen=True)
class LoadedModel:
    """Holds a model whose graphs are open and warm. It does not depend on the event loop.

    A model has either pipelines or, where it has no manifest, entries and signatures.

    Attributes:
        pipelines: one for each replica of the graph.
        workers: the number of batches that run at the same time. Where there are fewer replicas, workers share them (a
            runtime that allows several calls at the same time needs only one).
        threads: the CPU threads of each.
        limits: how batches are formed.
        bounds: how much may wait.
        max_request_rows: the largest number of rows of one request.
        decodes_in_worker: whether images are decoded by the worker that runs them rather than by the pool; best where
            every core has a worker.
        detect: the signature "detect" of each replica, where the model and the runtime have it.
        entries: the signatures' graphs of each replica of a model without a manifest.
        signatures: the signatures of a model without a manifest.
        runtime: the runtime of a model without a manifest.
        devices: the devices of the replicas, in their order.
        lone: a replica for a request that comes while nothing else runs, and its threads.
    """

    pipelines: tuple[Pipeline, ...]
    workers: int
    threads: int
    limits: BatchLimits
    bounds: QueueBounds
    max_request_rows: int
    decodes_in_worker: bool = False
    detect: tuple[Runtime, ...] = ()
    entries: tuple[Entries, ...] = ()
    signatures: Mapping[str, Signature] = field(default_factory=dict)
    runtime: str = ""
    devices: tuple[str, ...] = ("cpu",)
    lone: tuple[Runtime, int] | None = None

    @property
    def manifest(self) -> Manifest | None:
        """The manifest; None for a model without one."""
        return self.pipelines[0].manifest if self.pipelines else None

    @property
    def runtime_name(self) -> str:
        """The runtime that runs the graphs."""
        return self.pipelines[0].runtime.name if self.pipelines else self.runtime

    @property
    def graphs(self) -> list[RunGraph]:
        """The graph of each worker."""
        replicas: Sequence[RunGraph] = self.entries or [pipeline.runtime.run for pipeline in self.pipelines]
        if self.detect:
            pairs = zip(replicas, self.detect, strict=True)
            replicas = [Entries({DEFAULT: run, DETECT: detect.run}) for run, detect in pairs]
        if self.lone is not None:
            replicas = [WithLone(run, self.lone[0].run) for run in replicas]
        return [replicas[index % len(replicas)] for index in range(self.workers)]

    def describe(self) -> str:
        """Returns a line such as `onnx, 2 instances x 1 thread, batches up to 4, delay 0 ms`, with the devices unless
        there is only the cpu."""
        on = "" if self.devices == ("cpu",) else f" on {', '.join(self.devices)}"
        batches = f"batches up to {self.limits.max_rows}" if self.limits.batching else "no batching"
        lone = "" if self.lone is None else f" ({_count(self.lone[1], 'thread')} for a lone request)"
        return (
            f"{self.runtime_name}, {_count(self.workers, 'instance')} x {_count(self.threads, 'thread')}{lone}{on}, "
            f"{batches}, delay {self.limits.delay * 1000:g} ms"
        )

    def close(self) -> None:
        """Frees the memory."""
        for detect in self.detect:
            detect.close()
        if self.lone is not None:
            self.lone[0].close()
        for pipeline in self.pipelines:
            pipeline.close()
        for entries in self.entries:
            entries.close()


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
