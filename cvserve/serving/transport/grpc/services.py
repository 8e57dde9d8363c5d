"""The one place where services come onto the port: every method of a service's descriptor, surrounded by `Calls`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor
from grpc_health.v1 import health_pb2

from cvserve.protos import tensorflow_serving as protos
from cvserve.protos import vision_pb2
from cvserve.serving.core.engine import Engine
from cvserve.serving.protocols.tensorflow_serving.model_service import ModelService
from cvserve.serving.protocols.tensorflow_serving.prediction_service import PredictionService
from cvserve.serving.protocols.vision.service import VisionService
from cvserve.serving.settings import ServerSettings
from cvserve.serving.transport.grpc import reflection
from cvserve.serving.transport.grpc.calls import Calls, Method, Right
from cvserve.serving.transport.grpc.health import Health
from cvserve.serving.transport.interceptor import Gate


def add_all(
    server: grpc.aio.Server, engine: Engine, gate: Gate, health: Health, settings: ServerSettings
) -> VisionService:
    """Adds every service to a server that has not started.

    Returns:
        The vision service, whose streams are to be told of a drain.
    """
    calls = Calls(gate)
    vision = VisionService(engine, calls, settings.stream_window, settings.max_message_bytes)
    prediction = PredictionService(engine, settings.max_message_bytes, settings.tensor_content)
    add(
        server,
        calls,
        protos.PREDICTION_SERVICE,
        prediction,
        queued=("Predict", "Classify", "Regress", "MultiInference"),
        engine=engine,
    )
    changes: dict[str, Right] = {"HandleReloadConfigRequest": "management"}
    add(server, calls, protos.MODEL_SERVICE, ModelService(engine), rights=changes)
    add(
        server,
        calls,
        vision_pb2.DESCRIPTOR.services_by_name["VisionService"],
        vision,
        queued=("Classify", "Detect", "Segment", "Caption"),
        engine=engine,
    )
    add(server, calls, health_pb2.DESCRIPTOR.services_by_name["Health"], health, right=None)
    if settings.reflection:
        reflected = reflection.Reflection()
        for name in (reflection.V1ALPHA, reflection.V1):
            add(server, calls, reflection.SERVICE, reflected, right=None, full_name=name)
    return vision


def add(
    server: grpc.aio.Server,
    calls: Calls,
    service: ServiceDescriptor,
    servicer: object,
    right: Right | None = "inference",
    rights: Mapping[str, Right] = {},
    full_name: str | None = None,
    queued: Collection[str] = (),
    engine: Engine | None = None,
) -> None:
    """Adds a service to a server that has not started.

    Args:
        service: its methods, with the messages that they take and give.
        servicer: an `async def method(request, context)` for each of them. One that answers with a stream writes to
            the context; one that is asked with a stream gets `Requests`. A method that it lacks is UNIMPLEMENTED.
        right: what a caller needs; None for nothing.
        rights: the same for single methods.
        full_name: the service's name on the wire, where it is not its own.
        queued: methods whose requests wait for a model, and so may be refused before their message is read.
        engine: knows whether there is room for them.
    """
    handlers: dict[str, Any] = {}
    looking_first: dict[str, Any] = {}
    name = full_name or service.full_name
    for method in service.methods:
        handler = getattr(servicer, method.name, None)
        if handler is not None:
            path, needed = f"/{name}/{method.name}", rights.get(method.name, right)
            handlers[path] = _rpc_handler(calls, method, handler, needed)
            if engine is not None and method.name in queued:
                looking_first[path] = _rpc_handler(calls, method, handler, needed, engine)
    server.add_generic_rpc_handlers((_Handlers(handlers, looking_first, engine),))


class _Handlers(grpc.GenericRpcHandler):
    """Those of one service, by path; for some of them others under overload."""

    def __init__(self, handlers: Mapping[str, Any], looking_first: Mapping[str, Any], engine: Engine | None) -> None:
        self._handlers, self._looking_first, self._engine = handlers, looking_first, engine

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        path = handler_call_details.method
        # Only then, since it takes a lone request a little longer.
        if path in self._looking_first and self._engine is not None and self._engine.pressed:
            return self._looking_first[path]
        return self._handlers.get(path)


def _rpc_handler(
    calls: Calls,
    descriptor: MethodDescriptor,
    handler: Any,
    right: Right | None,
    engine: Engine | None = None,
) -> Any:
    request = message_factory.GetMessageClass(descriptor.input_type)
    write = message_factory.GetMessageClass(descriptor.output_type).SerializeToString
    method = Method(
        descriptor.name, right, request.FromString, model_of(descriptor.input_type), version_of(descriptor.output_type)
    )
    if engine is not None:
        return grpc.stream_stream_rpc_method_handler(calls.looking_first(method, handler, engine), None, write)
    if descriptor.client_streaming:
        return grpc.stream_stream_rpc_method_handler(calls.streaming(method, handler), None, write)
    if descriptor.server_streaming:
        return grpc.unary_stream_rpc_method_handler(calls.streaming(method, handler), None, write)
    return grpc.unary_unary_rpc_method_handler(calls.answering(method, handler), None, write)


def model_of(request: Descriptor) -> Callable[[Any], str]:
    """A function from a request of this type to the name of the model that it asks."""
    if "model_spec" in request.fields_by_name:
        return lambda message: str(message.model_spec.name)
    if "model" in request.fields_by_name:
        return lambda message: str(message.model.name)
    if "tasks" in request.fields_by_name:
        # MultiInference, whose tasks must all ask the same model.
        return lambda message: str(message.tasks[0].model_spec.name) if message.tasks else ""
    return lambda message: ""


def version_of(response: Descriptor) -> Callable[[Any], int | None]:
    """A function from a response of this type to the version that gave it."""
    if "model_spec" in response.fields_by_name:
        return lambda message: int(message.model_spec.version.value)
    if "model" in response.fields_by_name:
        return lambda message: int(message.model.version)
    return lambda message: None
