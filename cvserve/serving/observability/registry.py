"""Holds a server's metrics, with prometheus-client, and writes them as text for Prometheus.

The text is the exposition format 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Gauge, Metric, ProcessCollector, generate_latest
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample


class Registry(CollectorRegistry):
    """Holds the instruments of one server, and those of its process (memory, processor time, open files)."""

    def __init__(self) -> None:
        super().__init__()
        self._plain_counters: set[str] = set()
        ProcessCollector(registry=self)

    def plain_counter(self, name: str, description: str, labels: Sequence[str] = ()) -> Gauge:
        """Returns a counter whose name does not end in `_total`. The library appends that to the name of every
        `Counter`, so this is a gauge, whose type is written as counter in the text."""
        self._plain_counters.add(name)
        return Gauge(name, description, labels, registry=self)

    def text(self) -> bytes:
        """Returns all metrics in Prometheus' text format, UTF-8; an instrument without samples is left out."""
        text = generate_latest(_Adjusted(self))  # type: ignore[arg-type]
        for name in self._plain_counters:
            text = text.replace(f"# TYPE {name} gauge\n".encode(), f"# TYPE {name} counter\n".encode())
        return text


class _Adjusted(Collector):
    """Collects the metrics of a registry, with numbers and names adjusted (see `_adjusted`)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [_adjusted(each) for each in metric.samples if not each.name.endswith("_created")]
            if metric.samples:
                yield metric


def _adjusted(sample: Sample) -> Sample:
    # A name on disk may hold bytes that are not text.
    labels = {name: value.encode(errors="backslashreplace").decode() for name, value in sample.labels.items()}
    if "le" in labels and labels["le"] != "+Inf":
        # Bounds are written as 1 and 32.4 rather than 1.0 and 32.400000000000006.
        labels["le"] = f"{float(labels['le']):.12g}"
    return sample._replace(labels=labels)


def exponential(first: float, factor: float, count: int) -> tuple[float, ...]:
    """Returns first, first * factor, ...: the bounds of `count` buckets."""
    return tuple(first * factor**index for index in range(count))
