"""Names of devices, and the number of cores that this process may use."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from cvserve.errors import InvalidInput


@dataclass(frozen=True)
class Device:
    """Names a device. kind: "cpu" or "gpu". index: 0 is the first."""

    kind: str
    index: int = 0

    def __str__(self) -> str:
        return f"{self.kind}:{self.index}"


@dataclass(frozen=True)
class Resources:
    """Holds the limits of a graph beside the threads of one operation.

    interop_threads: operations of one call that may run at the same time; None: the runtime's default, one for
    onnxruntime and as many as cores for TensorFlow. gpu_memory_mib: the largest memory taken of each GPU; None: all of
    it. gpu_memory_growth: GPU memory is taken when it is needed, not all of it at the start. gpu_tf32: whether products
    of float32 may be computed in TensorFloat-32, with 10 bits of each factor's 23, where the GPU can; faster, but
    answers differ from the CPU's in the third digit instead of the sixth.

    TensorFlow applies the first three to the whole process, before its first operation; later values are logged and
    ignored. One model without TensorFloat-32 turns it off for all.
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
    """Returns the device of a text such as "cpu", "cpu:1", "gpu" or "gpu:0".

    Raises:
        InvalidInput: anything else.
    """
    match = re.fullmatch(r"(cpu|gpu)(?::(\d+))?", text.strip().lower())
    if match is None:
        raise InvalidInput(f"{text!r} is not a device; write cpu, gpu or gpu:1")
    return Device(match[1], int(match[2] or 0))


def usable_cores() -> int:
    """Returns the number of cores that this process may use, by its affinity and a container's CPU quota; at least
    1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, _quota() or cores))


def _quota() -> int | None:
    """Returns the CPU quota of control groups version 2, in whole cores, rounded up."""
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as stream:
            quota, period = stream.read().split()
        return None if quota == "max" else -(-int(quota) // int(period))
    except (OSError, ValueError):
        return None


def check_threads(threads: int | None) -> int | None:
    """Checks a number of threads; returns it.

    Raises:
        InvalidInput: it is neither None nor at least 1.
    """
    if threads is not None and threads < 1:
        raise InvalidInput(f"threads must be at least 1, not {threads}; leave it out to take every core")
    return threads
