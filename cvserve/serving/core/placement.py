"""Where the copies of a model run, and how many batches at a time."""

from __future__ import annotations

from dataclasses import dataclass

from cvserve.runtimes.device import parse_device, usable_cores
from cvserve.runtimes.instances import CONCURRENT, Layout, layout, layouts
from cvserve.serving.core.settings import ModelSettings

GPU_INSTANCES = 2
"""By default, on each GPU: one batch is copied and postprocessed while the other one runs."""


@dataclass(frozen=True)
class Place:
    """One copy of a graph: on which device, with how many CPU threads."""

    device: str
    threads: int


def candidates(settings: ModelSettings, runtime: str) -> tuple[Layout, ...]:
    """The layouts of each device that are worth measuring; the first is what is taken without.

    Args:
        runtime: the name of the one that was chosen; "auto" where that is still open.
    """
    cores = max(1, usable_cores() // len(settings.devices))
    if not any(parse_device(device).kind == "gpu" for device in settings.devices):
        return layouts(settings.instances, settings.threads, cores, runtime)
    if settings.instances is not None:
        return (Layout(*layout(settings.instances, settings.threads, cores)),)
    counts = (GPU_INSTANCES, 1) if runtime not in ("auto", "tensorflow") else (GPU_INSTANCES,)
    return tuple(Layout(count, settings.threads or max(1, cores // count)) for count in counts)


def places(settings: ModelSettings, chosen: Layout, runtime: str) -> list[Place]:
    """One for each copy to open. Worker number n runs copy n modulo their number, so that neighbours are on different
    devices and each device gets its instances."""
    copies = 1 if runtime in CONCURRENT else chosen.instances
    return [Place(device, chosen.threads) for _ in range(copies) for device in settings.devices]


def worker_count(settings: ModelSettings, chosen: Layout) -> int:
    """Batches that run at the same time on all devices."""
    return chosen.instances * len(settings.devices)


def on_cpu(settings: ModelSettings) -> bool:
    """Whether it runs on the processor alone."""
    return all(parse_device(device).kind == "cpu" for device in settings.devices)
