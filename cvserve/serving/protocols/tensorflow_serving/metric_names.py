"""The names, labels and buckets of TensorFlow Serving's metrics, for the dashboards that read them.

From its servables/tensorflow/util.cc and prometheus_exporter.cc: every "/" of a name is a ":", latencies are in
microseconds, the last bucket is +Inf.
"""

from __future__ import annotations

from prometheus_client import Gauge, Histogram

from cvserve.serving.core.observer import Stage
from cvserve.serving.observability.registry import Registry, exponential

LATENCY = exponential(10, 1.8, 33)
QUEUING = exponential(100, 1.2, 52)
EXAMPLES = exponential(1, 2, 15)

INFERENCE = ("predict", "classify", "regress", "multiinference")
"""The methods that TensorFlow Serving counts."""


class TensorFlowServingMetrics:
    """Counts under TensorFlow Serving's names. Where requests run in batches, runtime_latency is that of each batch."""

    def __init__(self, registry: Registry) -> None:
        """
        Args:
            registry: the server's registry, to which the metrics are added.
        """
        self._count = registry.plain_counter(
            ":tensorflow:serving:request_count", "The total number of requests.", ("model_name", "status")
        )
        self._latency = Histogram(
            ":tensorflow:serving:request_latency",
            "Distribution of wall time (in microseconds) for Tensorflow Serving request.",
            ("model_name", "API", "entrypoint"),
            buckets=LATENCY,
            registry=registry,
        )
        self._runtime = Histogram(
            ":tensorflow:serving:runtime_latency",
            "Distribution of wall time (in microseconds) for Tensorflow runtime.",
            ("model_name", "API", "runtime"),
            buckets=LATENCY,
            registry=registry,
        )
        self._example_counts = Histogram(
            ":tensorflow:serving:request_example_counts",
            "The number of tensorflow.Examples per request.",
            ("model",),
            buckets=EXAMPLES,
            registry=registry,
        )
        self._example_total = registry.plain_counter(
            ":tensorflow:serving:request_example_count_total", "The total number of tensorflow.Examples.", ("model",)
        )
        queuing = Histogram(
            ":tensorflow:serving:batching_session:queuing_latency",
            "Distribution of wall time spent (in microseconds) in queuing",
            ("thread_pool_name",),
            buckets=QUEUING,
            registry=registry,
        )
        self._queue = queuing.labels("batch_threads")
        self._runs = registry.plain_counter(
            ":tensorflow:serving:batching_session:wrapped_run_count", "Total count of run calls on the wrapped session"
        )
        self._graph_runs = registry.plain_counter(":tensorflow:core:graph_runs", "The number of graph executions.")
        self._answers: dict[tuple[str, str, str], tuple[Gauge | None, Histogram | None]] = {}

    def request(self, api: str, model: str, code: str, seconds: float) -> None:
        """Counts an answer to a method that TensorFlow Serving counts. See `ProtocolMetrics.request`."""
        instruments = self._answers.get((api, model, code))
        if instruments is None:
            instruments = self._answers[api, model, code] = self._of_answer(api, model, code)
        count, latency = instruments
        if count is not None:
            count.inc()
        if latency is not None:
            latency.observe(seconds * 1e6)

    def stage(self, model: str, stage: Stage, seconds: float) -> None:
        """Counts the waiting time of a request, and the run of a batch."""
        if stage == "queue":
            self._queue.observe(seconds * 1e6)
        elif stage == "run":
            # TensorFlow Serving has two ways to run a graph, "runtimes", of which TF1 is the usual one.
            self._runtime.labels(model, "Predict", "TF1").observe(seconds * 1e6)
            self._runs.inc()
            self._graph_runs.inc()

    def examples(self, model: str, count: int) -> None:
        """Counts the tf.Examples of a request."""
        self._example_counts.labels(model).observe(count)
        self._example_total.labels(model).inc(count)

    def _of_answer(self, api: str, model: str, code: str) -> tuple[Gauge | None, Histogram | None]:
        """Returns the counter and the histogram of an answer; None where TensorFlow Serving has no such metric."""
        method, rest = api.removeprefix("REST "), api.startswith("REST ")
        if method.lower() not in INFERENCE:
            return None, None
        # TensorFlow Serving measures the time of answers only, not of refusals.
        latency = self._latency.labels(model, method, "REST" if rest else "GRPC") if code == "OK" else None
        return self._count.labels(model, code), latency
