"""The text for Prometheus, read with its own parser."""

from __future__ import annotations

import sys
import threading

import grpc
import pytest
from serving_kit import PuppetRuntime, Serve, eventually, jpeg

from cvserve.client import AsyncClient
from cvserve.errors import InvalidInput, MissingExtra, NotFound, Overloaded
from cvserve.serving.core.observer import Observer
from cvserve.serving.observability.metrics import KEPT_AFTER_UNLOADING, OTHER, Metrics
from cvserve.serving.observability.registry import Registry
from cvserve.serving.protocols.tensorflow_serving.metric_names import TensorFlowServingMetrics

Histogram = pytest.importorskip("prometheus_client").Histogram
parser = pytest.importorskip("prometheus_client.parser")


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Returns values by sample name and labels; the parser adds `_total` to the names of counters that lack it."""
    families = parser.text_string_to_metric_families(metrics.text().decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return samples(metrics).get((name, tuple(sorted(labels.items()))))


def test_the_text_of_a_histogram() -> None:
    registry = Registry()
    histogram = Histogram("x", "How much.", ("a",), buckets=(1, 2, 32.400000000000006), registry=registry)
    for number in (0.5, 1, 1.5, 4, 99):
        histogram.labels("b").observe(number)
    lines = [line for line in registry.text().decode().splitlines() if line.startswith(("x", "# TYPE x"))]
    assert lines == [
        "# TYPE x histogram",
        'x_bucket{a="b",le="1"} 2.0',
        'x_bucket{a="b",le="2"} 3.0',
        'x_bucket{a="b",le="32.4"} 4.0',
        'x_bucket{a="b",le="+Inf"} 5.0',
        'x_count{a="b"} 5.0',
        'x_sum{a="b"} 106.0',
    ]


def test_without_the_library_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from cvserve.serving import Server

    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(MissingExtra, match=r"cvserve\[serve\]"):
        Server("models")


def test_a_counter_may_keep_its_name() -> None:
    registry = Registry()
    registry.plain_counter(":tensorflow:core:graph_runs", "Runs.").inc()
    lines = registry.text().decode().splitlines()
    assert ":tensorflow:core:graph_runs 1.0" in lines
    assert "# TYPE :tensorflow:core:graph_runs counter" in lines


def test_an_instrument_without_samples_has_no_lines() -> None:
    assert "cvserve_requests" not in Metrics().text().decode()


def test_names_that_are_not_text_are_escaped() -> None:
    metrics = Metrics()
    metrics.state("m\udcff", 1, "AVAILABLE")
    assert b'model="m\\\\udcff"' in metrics.text()


def test_labels_with_quotes_survive() -> None:
    metrics = Metrics()
    name = 'a"b\\c\nd'
    metrics.state(name, 1, "AVAILABLE")
    metrics.rejected(name, "queue full")
    assert value(metrics, "cvserve_rejected_total", model=name, reason="queue full") == 1


def test_many_threads_lose_nothing() -> None:
    metrics = Metrics()
    metrics.state("m", 1, "AVAILABLE")

    def work() -> None:
        for _ in range(2000):
            metrics.stage("m", 1, "run", 0.001)
            metrics.request("Predict", "m", 1, "OK", 0.001)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert value(metrics, "cvserve_stage_seconds_count", model="m", version="1", stage="run") == 8000
    assert value(metrics, "cvserve_requests_total", api="Predict", model="m", version="1", code="OK") == 8000


def test_unknown_model_names_make_no_series() -> None:
    metrics = Metrics()
    metrics.add(TensorFlowServingMetrics(metrics.registry))
    metrics.state("flowers", 1, "AVAILABLE")
    for index in range(1000):
        metrics.request("Predict", f"guess-{index}", None, "NOT_FOUND", 0.001)
        metrics.rejected(f"guess-{index}", "unauthenticated")
    assert value(metrics, "cvserve_requests_total", api="Predict", model=OTHER, version="", code="NOT_FOUND") == 1000
    assert value(metrics, ":tensorflow:serving:request_count_total", model_name=OTHER, status="NOT_FOUND") == 1000
    assert "guess" not in metrics.text().decode()


def test_series_of_unloaded_versions_are_removed() -> None:
    metrics = Metrics()
    metrics.add(TensorFlowServingMetrics(metrics.registry))
    lines = 0
    for version in range(1, 60):
        metrics.state("flowers", version, "AVAILABLE")
        metrics.stage("flowers", version, "run", 0.01)
        metrics.request("Predict", "flowers", version, "OK", 0.01)
        metrics.state("flowers", version, "END")
        if version == KEPT_AFTER_UNLOADING + 1:
            lines = len(metrics.text().splitlines())
    assert len(metrics.text().splitlines()) == lines
    assert value(metrics, "cvserve_stage_seconds_count", model="flowers", version="59", stage="run") == 1
    assert value(metrics, "cvserve_stage_seconds_count", model="flowers", version="1", stage="run") is None


def test_the_names_and_buckets_of_tensorflow_serving() -> None:
    metrics = Metrics()
    own = TensorFlowServingMetrics(metrics.registry)
    metrics.add(own)
    metrics.state("m", 1, "AVAILABLE")
    metrics.request("Predict", "m", 1, "OK", 0.001)
    metrics.request("REST predict", "m", 1, "OK", 0.002)
    metrics.request("Predict", "m", None, "INVALID_ARGUMENT", 0.002)
    metrics.request("GetModelInfo", "m", 1, "OK", 0.002)
    metrics.stage("m", 1, "run", 0.0005)
    metrics.stage("m", 1, "queue", 0.00012)
    own.examples("m", 3)
    assert value(metrics, ":tensorflow:serving:request_count_total", model_name="m", status="OK") == 2
    assert value(metrics, ":tensorflow:serving:request_count_total", model_name="m", status="INVALID_ARGUMENT") == 1
    latency = ":tensorflow:serving:request_latency"
    assert value(metrics, f"{latency}_sum", model_name="m", API="Predict", entrypoint="GRPC") == 1000
    assert value(metrics, f"{latency}_sum", model_name="m", API="predict", entrypoint="REST") == 2000
    assert (
        value(metrics, ":tensorflow:serving:runtime_latency_sum", model_name="m", API="Predict", runtime="TF1") == 500
    )
    assert value(metrics, ":tensorflow:serving:request_example_count_total", model="m") == 3
    assert value(metrics, ":tensorflow:serving:batching_session:wrapped_run_count_total") == 1
    bounds = {name: [] for name in (f"{latency}_bucket", ":tensorflow:serving:batching_session:queuing_latency_bucket")}
    for (name, labels), _ in samples(metrics).items():
        if name in bounds and ("entrypoint", "REST") not in labels:
            bounds[name].append(float(dict(labels)["le"]))
    for (first, factor, count), found in zip(((10, 1.8, 33), (100, 1.2, 52)), bounds.values(), strict=True):
        assert found == pytest.approx([*(first * factor**index for index in range(count)), float("inf")])
    assert "# TYPE :tensorflow:serving:request_count counter" in metrics.text().decode().splitlines()


async def test_a_served_image_is_counted_in_every_stage(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime) as server, AsyncClient(server.address) as client:
        for _ in range(3):
            await client.classify("colours", jpeg())
        with pytest.raises(InvalidInput):
            await client.classify("colours", b"no image")
        with pytest.raises(NotFound):
            await client.classify("nobody", jpeg())
        metrics = server.metrics
        of = {"model": "colours", "version": "1"}
        for stage, count in (("decode", 3), ("queue", 3), ("run", 3), ("postprocess", 3)):
            assert value(metrics, "cvserve_stage_seconds_count", **of, stage=stage) == count, stage
            assert 0 < (value(metrics, "cvserve_stage_seconds_sum", **of, stage=stage) or 0) < 5, stage
        assert value(metrics, "cvserve_batch_rows_sum", **of) == 3
        assert value(metrics, "cvserve_queue_requests", **of) == 0
        assert value(metrics, "cvserve_model_state", **of, state="AVAILABLE") == 1
        assert value(metrics, "cvserve_model_state", **of, state="LOADING") == 0
        assert value(metrics, "cvserve_requests_total", api="Classify", **of, code="OK") == 3
        bad = {"api": "Classify", "version": ""}
        assert value(metrics, "cvserve_requests_total", **bad, model="colours", code="INVALID_ARGUMENT") == 1
        assert value(metrics, "cvserve_requests_total", **bad, model=OTHER, code="NOT_FOUND") == 1
        assert value(metrics, "process_resident_memory_bytes") is not None


async def test_the_queue_and_what_it_refuses(serve: Serve, runtime: PuppetRuntime) -> None:
    import asyncio

    async with serve(runtime, max_batch_size=1, max_queue_requests=2) as server, AsyncClient(server.address) as client:
        runtime.gate.clear()
        first = asyncio.ensure_future(client.classify("colours", jpeg()))
        await runtime.wait_for_call()
        waiting = [asyncio.ensure_future(client.classify("colours", jpeg())) for _ in range(2)]
        of = {"model": "colours", "version": "1"}
        await eventually(lambda: value(server.metrics, "cvserve_queue_requests", **of) == 2)
        with pytest.raises(Overloaded):
            await client.classify("colours", jpeg(), timeout=1)
        waiting[0].cancel()
        await eventually(lambda: value(server.metrics, "cvserve_queue_requests", **of) == 1)
        runtime.gate.set()
        await asyncio.gather(first, waiting[1])
        assert value(server.metrics, "cvserve_queue_requests", **of) == 0
        assert value(server.metrics, "cvserve_rejected_total", model="colours", reason="queue full")
        assert value(server.metrics, "cvserve_rejected_total", model="colours", reason="cancelled") == 1


async def test_another_observer_is_notified_too(serve: Serve, runtime: PuppetRuntime, tmp_path: object) -> None:
    from serving_kit import loader, repository

    from cvserve.serving import Server, ServerSettings

    answers_seen: list[str] = []

    class Listener(Observer):
        def request(self, api: str, model: str, version: int | None, code: str, seconds: float) -> None:
            answers_seen.append(f"{api} {model} {version} {code}")

    root = repository(tmp_path / "models")  # type: ignore[operator]
    settings = ServerSettings(host="127.0.0.1", port=0, http_port=-1)
    async with (
        Server(root, settings, load_model=loader(runtime), observer=Listener()) as server,
        AsyncClient(server.address) as client,
    ):
        await client.classify("colours", jpeg())
        async with grpc.aio.insecure_channel(server.address) as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await channel.unary_unary("/cvserve.v1.VisionService/Classify")(b"\xff\xff\xff", timeout=5)
    assert answers_seen == ["Classify colours 1 OK", "Classify  None INVALID_ARGUMENT"]
