"""How the cores are shared out among copies of a graph that run at the same time: by the server and by `predict`."""

from __future__ import annotations

CONCURRENT = ("onnx", "tensorflow")
"""Runtimes of which one copy of a model runs several calls at the same time; of the others each call needs its own."""

MOST_INSTANCES = 4
"""By default, since each costs the memory of a batch's activations."""


def layout(instances: int | None, threads: int | None, cores: int) -> tuple[int, int]:
    """(instances, threads of each): what is given, and otherwise all cores in as many instances as allowed.

    Instances of one thread do more than one instance of many threads, in which every operation waits for its slowest
    thread (on 2 cores two calls of one thread did 544 to 598 images/s where one call of two did 409 to 467).
    """
    if instances is None:
        instances = min(MOST_INSTANCES, cores if threads is None else max(1, cores // threads))
    return instances, threads or max(1, cores // instances)
