"""Names of devices and the number of cores that this process may use."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from cvserve.errors import InvalidInput


@dataclass(frozen=True)
class Device:
    """kind: "cpu" or "gpu". index: 0 is the first."""

    kind: str
    index: int = 0

    def __str__(self) -> str:
        return f"{self.kind}:{self.index}"


@dataclass(frozen=True)
class Resources:
    """What a graph may take beside the threads of one operation.

    interop_threads: operations of one call that may run at the same time; None leaves it to the runtime, which is one
    for onnxruntime and as many as cores for TensorFlow. gpu_memory_mib: the most memory taken of each GPU; None: all of
    it. gpu_memory_growth: GPU memory is taken when it is needed, not all of it at the start. gpu_tf32: whether
    products of float32 may be computed in TensorFloat-32, with 10 bits of each factor's 23, where the GPU can; quicker,
    but answers differ from the CPU's in the third digit instead of the sixth. TensorFlow takes the first three
    for the whole process, before its first operation, and logs and leaves later wishes; one that does not wish
    TensorFloat-32 ends it for all.
    """

    interop_threads: int | None = None
    gpu_memory_mib: int | None = None
    gpu_memory_growth: bool = True
    gpu_tf32: bool = False

    def __post_init__(self) -> None:
        for name in ("interop_threads", "gpu_memory_mib"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidInput(f"{name} must be at least 1, not {value}; leave it out for no limit")


def parse_device(text: str) -> Device:
    """ "cpu", "cpu:1", "gpu", "gpu:0" to a Device.

    Raises:
        InvalidInput: anything else.
    """
    match = re.fullmatch(r"(cpu|gpu)(?::(\d+))?", text.strip().lower())
    if match is None:
        raise InvalidInput(f"{text!r} is no device; write cpu, gpu or gpu:1")
    return Device(match[1], int(match[2] or 0))


def usable_cores() -> int:
    """Cores that this process may run on: its affinity, cut by a container's CPU quota, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, _quota() or cores))


def _quota() -> int | None:
    """The CPU quota of control groups version 2, in whole cores, rounded up."""
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as stream:
            quota, period = stream.read().split()
        return None if quota == "max" else -(-int(quota) // int(period))
    except (OSError, ValueError):
        return None


def check_threads(threads: int | None) -> int | None:
    """`threads` itself if it is None or at least 1.

    Raises:
        InvalidInput: otherwise.
    """
    if threads is not None and threads < 1:
        raise InvalidInput(f"threads must be at least 1, not {threads}; leave it out to take every core")
    return threads
