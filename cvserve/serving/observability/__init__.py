"""Metrics for Prometheus, the log, and traces. Knows no protocol: a protocol adds metrics under names of its own."""

from cvserve.serving.observability.instruments import CONTENT_TYPE
from cvserve.serving.observability.metrics import OTHER, Metrics, ProtocolMetrics

__all__ = ["CONTENT_TYPE", "OTHER", "Metrics", "ProtocolMetrics"]
