"""Prometheus metrics of every stage, ours and those that dashboards of TensorFlow Serving look for."""

from cvserve.serving.observability.instruments import CONTENT_TYPE
from cvserve.serving.observability.metrics import OTHER, Metrics

__all__ = ["CONTENT_TYPE", "OTHER", "Metrics"]
