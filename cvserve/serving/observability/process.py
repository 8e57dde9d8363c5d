"""Memory, processor time and open files of the process, as prometheus-client reports them."""

from __future__ import annotations

import functools
from collections.abc import Callable


def process_text() -> bytes:
    """`process_resident_memory_bytes` and the like; empty where prometheus-client is not installed."""
    return _collector()()


@functools.lru_cache(maxsize=1)
def _collector() -> Callable[[], bytes]:
    try:
        from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
    except ModuleNotFoundError:
        return bytes
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return functools.partial(generate_latest, registry)
