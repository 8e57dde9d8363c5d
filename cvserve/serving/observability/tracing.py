"""OpenTelemetry spans of requests and their stages (`pip install 'cvserve[telemetry]'`).

A request's span continues the client's trace (`traceparent`, W3C). Names and attributes follow OpenTelemetry's
conventions for RPC servers (https://opentelemetry.io/docs/specs/semconv/rpc/rpc-spans/).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from cvserve.extras import require
from cvserve.serving.core.observer import Stage

CLOSE_SECONDS = 2.0
"""Seconds that the server waits at shutdown for spans to be sent."""


class TelemetrySettings(BaseModel):
    """Holds the settings of tracing: where spans go, and how many requests are traced."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    endpoint: str = "http://localhost:4317"
    """The collector's OTLP address over gRPC; https:// for TLS."""

    service_name: str = "cvserve"
    """The name of this server in the traces."""

    sample: float = Field(default=1.0, ge=0, le=1)
    """The fraction of requests that are traced, unless the client has decided it."""


class Span(Protocol):
    """Records the span of one request."""

    def stage(self, stage: Stage, began: float, ended: float) -> None:
        """Records a stage of the request; times are of time.monotonic(). Thread-safe."""

    def end(self, api: str, model: str, version: int | None, code: str) -> None:
        """Records that the request was answered. api: as in `Observer.request`. code: the name of the gRPC status."""


class Tracing:
    """Starts spans. on: False where nothing is traced, so that headers need not be read."""

    on = False

    def begin(self, api: str, headers: Mapping[str, str]) -> Span | None:
        """Returns the span of a request; None where it is not traced."""
        return None

    def close(self) -> None:
        """Sends the spans that are left, for at most a few seconds."""


NO_TRACES = Tracing()


class OpenTelemetry(Tracing):
    """Makes spans with opentelemetry-sdk and sends them in the background. What the collector refuses is lost."""

    on = True

    def __init__(self, settings: TelemetrySettings, exporter: Any = None) -> None:
        """
        Args:
            exporter: where finished spans go, instead of the endpoint.

        Raises:
            MissingExtra: cvserve[telemetry] is not installed.
        """
        require("opentelemetry.sdk.trace")
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = TracerProvider(
            resource=Resource.create({"service.name": settings.service_name}),
            sampler=ParentBasedTraceIdRatio(settings.sample),
        )
        if exporter is None:
            require("opentelemetry.exporter.otlp.proto.grpc.trace_exporter")
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

            self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.endpoint)))
        else:
            self._provider.add_span_processor(SimpleSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("cvserve")
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, api: str, headers: Mapping[str, str]) -> Span | None:
        """Returns the span of a request, which continues the client's trace; None where it is not traced."""
        from opentelemetry.trace import SpanKind

        span = self._tracer.start_span(api, self._propagator.extract(dict(headers)), SpanKind.SERVER)
        if not span.is_recording():
            return None
        return _RequestSpan(self._tracer, span)

    def close(self) -> None:
        """Sends the spans that are left, for CLOSE_SECONDS at most."""
        # Otherwise it would try for half a minute if the collector does not answer.
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)


class _RequestSpan:
    """Holds the span of a request, with a child span for each stage."""

    def __init__(self, tracer: Any, span: Any) -> None:
        from opentelemetry.trace import set_span_in_context

        self._tracer = tracer
        self._span = span
        self._context = set_span_in_context(span)
        # The times of spans are nanoseconds since 1970.
        self._epoch = time.time_ns() - time.monotonic_ns()

    def stage(self, stage: Stage, began: float, ended: float) -> None:
        start, end = (self._epoch + int(seconds * 1e9) for seconds in (began, ended))
        self._tracer.start_span(stage, self._context, start_time=start).end(end)

    def end(self, api: str, model: str, version: int | None, code: str) -> None:
        from opentelemetry.trace import StatusCode

        self._span.update_name(api)
        method = api.removeprefix("REST ")
        self._span.set_attributes(
            {
                "rpc.system": "grpc" if method == api else "http",
                "rpc.method": method,
                "cvserve.model": model,
                "cvserve.code": code,
            }
        )
        if version is not None:
            self._span.set_attribute("cvserve.version", version)
        if code != "OK":
            self._span.set_status(StatusCode.ERROR, code)
        self._span.end()
