"""Metrics for Prometheus, the log, and traces. Knows no protocol: a protocol adds metrics under names of its own."""
