"""Divides the cores among the instances of a graph that run at the same time, in the server and in `predict`."""

from __future__ import annotations

from dataclasses import dataclass

CONCURRENT = ("onnx", "tensorflow")
"""Runtimes of which one opened graph runs several calls at the same time; others need one for each call."""

ONE_NUMBER_OF_THREADS = ("tensorflow",)
"""Runtimes that use the first model's number of threads for the whole process, so that there is nothing to measure."""

MAX_INSTANCES = 4
"""The largest default number of instances, since each needs the memory of a batch's activations."""


@dataclass(frozen=True)
class InstancePlan:
    """Describes how many batches run at the same time, and with how many threads.

    instances: batches that run at the same time. threads: CPU threads of each.
    """

    instances: int
    threads: int

    def __str__(self) -> str:
        return f"{self.instances} x {self.threads}"


def instance_plan(instances: int | None, threads: int | None, cores: int) -> tuple[int, int]:
    """Returns (instances, threads of each): the given numbers, or else as many instances as allowed on all cores.

    Instances of one thread answer more images than one instance of many threads, in which every operation waits for its
    slowest thread: on 2 cores, two calls of one thread did 544 to 598 images/s, and one call of two threads 409 to 467.
    """
    if instances is None:
        instances = min(MAX_INSTANCES, cores if threads is None else max(1, cores // threads))
    return instances, threads or max(1, cores // instances)


def instance_plans(instances: int | None, threads: int | None, cores: int, runtime: str) -> tuple[InstancePlan, ...]:
    """Returns the plans that are worth measuring; the first is the default.

    Args:
        instances, threads: given numbers; with either of them, there is only one plan.
        cores: the cores that are divided.
        runtime: the name of the runtime.

    Returns:
        The default, all cores in one call, and all cores in each of several calls. The last two are the fastest for a
        single image; where calls share their threads (onnxruntime), they may be as fast under load.
    """
    first = InstancePlan(*instance_plan(instances, threads, cores))
    if instances is not None or threads is not None or cores == 1 or runtime in ONE_NUMBER_OF_THREADS:
        return (first,)
    plans = [first, InstancePlan(1, cores)]
    if runtime in CONCURRENT:
        plans.append(InstancePlan(first.instances, cores))
    return tuple(dict.fromkeys(plans))
