"""Measures what metrics, tokens, log lines and traces cost a request: the calls that one request makes, no server.

python benchmarks/observer_cost.py
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from cvserve.serving.core.observer import TRACE, Observer, Stage, VersionReport
from cvserve.serving.observability import logs
from cvserve.serving.observability.metrics import Metrics
from cvserve.serving.observability.tracing import OpenTelemetry, TelemetrySettings
from cvserve.serving.protocols.tensorflow_serving.metric_names import TensorFlowServingMetrics
from cvserve.serving.security import Access
from cvserve.serving.transport.interceptor import Interceptor

REQUESTS = 5000
ROUNDS = 5
HEADERS = (("user-agent", "grpc-python/1.80"), ("authorization", "Bearer camera-secret"))


def one_request(interceptor: Interceptor, report: VersionReport) -> None:
    """An image alone in its batch, which is the dearest case: the batch's own reports are shared by nobody."""
    request = interceptor.begin("Classify", "inference", lambda: HEADERS, lambda: "ipv4:127.0.0.1:50000")
    request.allow("flowers")
    report.queue(1)
    report.stage("decode", 0.004)
    report.queue(0)
    report.stage("queue", 0.001)
    report.batch(1, 1)
    report.stage("run", 0.02)
    report.stage("postprocess", 0.0001)
    traced = TRACE.get()
    if traced is not None:
        for stage in get_args(Stage):
            traced(stage, 0.0, 0.01)
    request.end(1, "OK")


def microseconds(interceptor: Interceptor) -> float:
    """The best round's mean."""
    report = VersionReport(interceptor.observer, "flowers", 1)
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(REQUESTS):
            one_request(interceptor, report)
        best = min(best, (time.perf_counter() - start) / REQUESTS)
    return best * 1e6


def metrics() -> Observer:
    made = Metrics()
    made.add(TensorFlowServingMetrics(made.registry))
    made.state("flowers", 1, "AVAILABLE")
    return made


def traced() -> Interceptor:
    from opentelemetry.sdk.trace.export import SpanExporter

    return Interceptor(metrics(), tracing=OpenTelemetry(TelemetrySettings(), SpanExporter()))


def with_tokens() -> Interceptor:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tokens.yaml"
        file.write_text("tokens: [{token: camera-secret, models: [flowers]}, {token: operator-secret}]")
        return Interceptor(metrics(), Access(file))


def main() -> None:
    logs.set_up("json", "info", io.StringIO())
    setups: dict[str, Callable[[], Interceptor]] = {
        "nobody listens": Interceptor,
        "metrics (as served by default)": lambda: Interceptor(metrics(), log=logs.log_request),
        "metrics, tokens": with_tokens,
        "metrics, a log line each": lambda: Interceptor(metrics(), log=logs.log_request, log_requests="all"),
        "metrics, every request traced": traced,
    }
    for name, make in setups.items():
        print(f"{name:32} {microseconds(make()):6.1f} us a request", flush=True)


if __name__ == "__main__":
    main()
