"""Opens the replicas of a graph that `predict` runs at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cvserve import artifact as artifacts
from cvserve.pipeline import Pipeline
from cvserve.runtimes import open_runtime
from cvserve.runtimes.device import usable_cores
from cvserve.runtimes.instances import CONCURRENT, instance_plan


@contextmanager
def open_instances(
    path: str | Path,
    *,
    version: int | None = None,
    runtime: str = "auto",
    precision: str | None = None,
    instances: int | None = None,
    threads: int | None = None,
    device: str = "cpu",
) -> Iterator[list[Pipeline]]:
    """Opens the artifact at `path` for `predict`, and closes it at the end.

    Args:
        path, version, runtime, precision, device: as `Pipeline.load`.
        instances: batches that run at the same time; None takes one for each core, at most four.
        threads: CPU threads of each; None divides the cores among them.

    Yields:
        One pipeline for each instance; the same one several times if its runtime runs several calls at the same time.

    Raises:
        NotFound, ArtifactError, MissingExtra, FailedPrecondition
    """
    artifact = artifacts.read(path, version)
    count, threads = instance_plan(instances, threads, usable_cores())
    with ExitStack() as stack:

        def another() -> Pipeline:
            opened = open_runtime(artifact, runtime=runtime, threads=threads, precision=precision, device=device)
            return stack.enter_context(Pipeline(artifact, opened))

        first = another()
        yield [first if index == 0 or first.runtime.name in CONCURRENT else another() for index in range(count)]
