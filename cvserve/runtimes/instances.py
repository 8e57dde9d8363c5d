"""Divides the cores among the instances of a graph that run at the same time, in the server and in `predict`."""

from __future__ import annotations

from dataclasses import dataclass

CONCURRENT = ("onnx", "tensorflow")
"""Runtimes of which one opened graph runs several calls at the same time; others need one for each call."""

ONE_NUMBER_OF_THREADS = ("tensorflow",)
"""Runtimes that use the first model's number of threads for the whole process, so that there is nothing to measure."""

MOST_INSTANCES = 4
"""The default's limit: each instance costs the memory of a batch's activations."""


@dataclass(frozen=True)
class InstancePlan:
    """instances: batches that run at the same time. threads: CPU threads of each."""

    instances: int
    threads: int

    def __str__(self) -> str:
        return f"{self.instances} x {self.threads}"


def instance_plan(instances: int | None, threads: int | None, cores: int) -> tuple[int, int]:
    """(instances, threads of each): what is given, and otherwise all cores in as many instances as allowed.

    Instances of one thread do more than one instance of many threads, in which every operation waits for its slowest
    thread (on 2 cores two calls of one thread did 544 to 598 images/s where one call of two did 409 to 467).
    """
    if instances is None:
        instances = min(MOST_INSTANCES, cores if threads is None else max(1, cores // threads))
    return instances, threads or max(1, cores // instances)


def instance_plans(instances: int | None, threads: int | None, cores: int, runtime: str) -> tuple[InstancePlan, ...]:
    """What is worth measuring; the first is what is taken without.

    Args:
        instances, threads: what is given; with either, nothing is left to measure.
        cores: to be shared out.
        runtime: its name.

    Returns:
        The default, all cores in one call, and all cores in each of several calls: these are quickest for a lone
        image, and where calls share their threads (onnxruntime) they may lose nothing under load.
    """
    first = InstancePlan(*instance_plan(instances, threads, cores))
    if instances is not None or threads is not None or cores == 1 or runtime in ONE_NUMBER_OF_THREADS:
        return (first,)
    found = [first, InstancePlan(1, cores)]
    if runtime in CONCURRENT:
        found.append(InstancePlan(first.instances, cores))
    return tuple(dict.fromkeys(found))
