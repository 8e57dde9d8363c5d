"""Metrics for Prometheus, the log, and traces. It does not depend on any protocol: protocols add their own metrics."""
