"""The names, labels and buckets of TensorFlow Serving's metrics, for the dashboards that read them.

From its servables/tensorflow/util.cc and prometheus_exporter.cc: every "/" of a name is a ":", latencies are in
microseconds, the last bucket is +Inf.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cvserve.serving.core.observer import Stage
from cvserve.serving.observability.instruments import Counter, Family, Histogram, exponential

LATENCY = exponential(10, 1.8, 33)
QUEUING = exponential(100, 1.2, 52)
EXAMPLES = exponential(1, 2, 15)

INFERENCE = ("predict", "classify", "regress", "multiinference")
"""The methods that it counts."""


class TensorFlowServingMetrics:
    """Counts under TensorFlow Serving's names. Where requests run in batches, runtime_latency is that of each batch."""

    def __init__(self) -> None:
        self._count: Family[Counter] = Family(
            ":tensorflow:serving:request_count",
            "counter",
            "The total number of requests.",
            ("model_name", "status"),
            Counter,
        )
        self._latency = Family(
            ":tensorflow:serving:request_latency",
            "histogram",
            "Distribution of wall time (in microseconds) for Tensorflow Serving request.",
            ("model_name", "API", "entrypoint"),
            lambda: Histogram(LATENCY),
        )
        self._runtime = Family(
            ":tensorflow:serving:runtime_latency",
            "histogram",
            "Distribution of wall time (in microseconds) for Tensorflow runtime.",
            ("model_name", "API", "runtime"),
            lambda: Histogram(LATENCY),
        )
        self._example_counts = Family(
            ":tensorflow:serving:request_example_counts",
            "histogram",
            "The number of tensorflow.Examples per request.",
            ("model",),
            lambda: Histogram(EXAMPLES),
        )
        self._example_total: Family[Counter] = Family(
            ":tensorflow:serving:request_example_count_total",
            "counter",
            "The total number of tensorflow.Examples.",
            ("model",),
            Counter,
        )
        self._queuing = Family(
            ":tensorflow:serving:batching_session:queuing_latency",
            "histogram",
            "Distribution of wall time spent (in microseconds) in queuing",
            ("thread_pool_name",),
            lambda: Histogram(QUEUING),
        )
        self._runs: Family[Counter] = Family(
            ":tensorflow:serving:batching_session:wrapped_run_count",
            "counter",
            "Total count of run calls on the wrapped session",
            (),
            Counter,
        )
        self._graph_runs: Family[Counter] = Family(
            ":tensorflow:core:graph_runs", "counter", "The number of graph executions.", (), Counter
        )
        self._queue = self._queuing.of("batch_threads")
        self._answers: dict[tuple[str, str, str], tuple[Counter | None, Histogram | None]] = {}

    @property
    def families(self) -> Sequence[Family[Any]]:
        """Returns all instruments."""
        return (
            self._count,
            self._latency,
            self._runtime,
            self._example_counts,
            self._example_total,
            self._queuing,
            self._runs,
            self._graph_runs,
        )

    def request(self, api: str, model: str, code: str, seconds: float) -> None:
        """Counts an answer to a method that TensorFlow Serving counts. See `ProtocolMetrics.request`."""
        found = self._answers.get((api, model, code))
        if found is None:
            found = self._answers[api, model, code] = self._of_answer(api, model, code)
        count, latency = found
        if count is not None:
            count.add()
        if latency is not None:
            latency.observe(seconds * 1e6)

    def stage(self, model: str, stage: Stage, seconds: float) -> None:
        """Counts the wait of a request, and the run of a batch."""
        if stage == "queue":
            self._queue.observe(seconds * 1e6)
        elif stage == "run":
            # TensorFlow Serving has two ways to run a graph, "runtimes", of which TF1 is the usual one.
            self._runtime.of(model, "Predict", "TF1").observe(seconds * 1e6)
            self._runs.of().add()
            self._graph_runs.of().add()

    def examples(self, model: str, count: int) -> None:
        """Counts the tf.Examples of a request."""
        self._example_counts.of(model).observe(count)
        self._example_total.of(model).add(count)

    def _of_answer(self, api: str, model: str, code: str) -> tuple[Counter | None, Histogram | None]:
        """Returns what counts an answer and what measures it; None where TensorFlow Serving has no such metric."""
        method, rest = api.removeprefix("REST "), api.startswith("REST ")
        if method.lower() not in INFERENCE:
            return None, None
        # It measures answers only, not refusals.
        latency = self._latency.of(model, method, "REST" if rest else "GRPC") if code == "OK" else None
        return self._count.of(model, code), latency
