"""OpenTelemetry spans, as an exporter gets them."""

from __future__ import annotations

import time
from typing import Any

import grpc
import pytest
from serving_kit import PuppetRuntime, Serve, jpeg

from cvserve.protos import vision_pb2, vision_pb2_grpc
from cvserve.serving.observability.tracing import OpenTelemetry, TelemetrySettings
from cvserve.serving.transport import interceptor

pytest.importorskip("tensorflow_serving")
pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Returns the exporter that gets the server's spans."""
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(interceptor, "OpenTelemetry", lambda settings: OpenTelemetry(settings, exporter))
    return exporter


async def ask(address: str, model: str = "colours", **metadata: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        request = vision_pb2.ClassifyRequest(model=vision_pb2.ModelSpec(name=model), image=jpeg())
        await vision_pb2_grpc.VisionServiceStub(channel).Classify(request, timeout=5, metadata=tuple(metadata.items()))


async def test_a_request_continues_the_clients_trace(
    serve: Serve, runtime: PuppetRuntime, exported: InMemorySpanExporter
) -> None:
    async with serve(runtime, telemetry={"service_name": "images"}) as server:
        await ask(server.address, traceparent=f"00-{TRACE}-{PARENT}-01")
        with pytest.raises(grpc.aio.AioRpcError):
            await ask(server.address, model="nobody")
    spans: list[Any] = [span for span in exported.get_finished_spans() if span.kind is SpanKind.SERVER]
    good, bad = spans
    assert good.name == "Classify"
    assert format(good.context.trace_id, "032x") == TRACE
    assert format(good.parent.span_id, "016x") == PARENT
    assert dict(good.attributes) == {
        "rpc.system": "grpc",
        "rpc.method": "Classify",
        "cvserve.model": "colours",
        "cvserve.version": 1,
        "cvserve.code": "OK",
    }
    assert good.resource.attributes["service.name"] == "images"
    assert good.end_time > good.start_time
    assert bad.status.status_code is StatusCode.ERROR
    assert bad.attributes["cvserve.code"] == "NOT_FOUND"
    assert bad.parent is None


async def test_stages_are_spans_inside_the_requests(
    serve: Serve, runtime: PuppetRuntime, exported: InMemorySpanExporter
) -> None:
    async with serve(runtime, telemetry={}) as server:
        await ask(server.address)
    spans: list[Any] = list(exported.get_finished_spans())
    [request] = [span for span in spans if span.kind is SpanKind.SERVER]
    stages = {span.name: span for span in spans if span is not request}
    assert set(stages) == {"decode", "queue", "run", "postprocess"}
    for span in stages.values():
        assert span.parent.span_id == request.context.span_id
        assert request.start_time <= span.start_time <= span.end_time <= request.end_time + 1_000_000
    assert stages["decode"].end_time <= stages["queue"].end_time <= stages["run"].end_time


async def test_images_for_predict_are_decoded_in_one_span(
    serve: Serve, runtime: PuppetRuntime, exported: InMemorySpanExporter
) -> None:
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    async with serve(runtime, telemetry={}) as server, grpc.aio.insecure_channel(server.address) as channel:
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = "colours", "bytes"
        tensor = request.inputs["image_bytes"]
        tensor.dtype = 7
        tensor.tensor_shape.dim.add(size=3)
        tensor.string_val.extend([jpeg()] * 3)
        await prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=5)
    names = [span.name for span in exported.get_finished_spans()]
    assert sorted(names) == ["Predict", "decode", "queue", "run"]


async def test_nothing_is_traced_with_a_sample_of_0(
    serve: Serve, runtime: PuppetRuntime, exported: InMemorySpanExporter
) -> None:
    async with serve(runtime, telemetry={"sample": 0}) as server:
        await ask(server.address)
        await ask(server.address, traceparent=f"00-{TRACE}-{PARENT}-01")
    assert {format(span.context.trace_id, "032x") for span in exported.get_finished_spans()} == {TRACE}


async def test_a_missing_collector_delays_no_request(serve: Serve, runtime: PuppetRuntime) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc")
    async with serve(runtime, telemetry={"endpoint": "http://127.0.0.1:1"}) as server:
        await ask(server.address)
        start = time.monotonic()
    assert time.monotonic() - start < 10


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="endpiont"):
        TelemetrySettings(endpiont="x")  # type: ignore[call-arg]
