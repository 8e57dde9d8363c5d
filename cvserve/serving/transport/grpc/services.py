"""Adds services to the gRPC port: every method of a service's descriptor, wrapped by `Calls`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor

from cvserve.serving.transport.grpc.calls import Calls, Method
from cvserve.serving.transport.grpc.health import Health
from cvserve.serving.transport.grpc.reflection import reflection_services
from cvserve.serving.transport.interceptor import Interceptor
from cvserve.serving.transport.protocol import GrpcMethod, GrpcService


def add_services(
    server: grpc.aio.Server,
    services: Sequence[GrpcService],
    *,
    interceptor: Interceptor,
    reflection: bool,
) -> Health:
    """Adds the services of all protocols, and health, to a server that has not started.

    Args:
        reflection: whether the reflection service is added too.

    Returns:
        The health service, which answers for all of them.
    """
    health = Health([name for service in services for name in (service.name, *service.health_names)])
    calls = Calls(interceptor)
    all_services = [*services, health.service]
    if reflection:
        all_services += reflection_services(all_services)
    for service in all_services:
        add(server, calls, service)
    return health


def add(server: grpc.aio.Server, calls: Calls, service: GrpcService) -> None:
    """Adds one service."""
    handlers: dict[str, Any] = {}
    for descriptor in service.descriptor.methods:
        handler = getattr(service.servicer, descriptor.name, None)
        if handler is None:
            continue
        method = _method(descriptor, service.methods.get(descriptor.name, GrpcMethod()))
        handlers[descriptor.name] = _rpc_handler(calls, descriptor, method, handler)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.name, handlers),))


def _method(descriptor: MethodDescriptor, declared: GrpcMethod) -> Method:
    return Method(descriptor.name, message_factory.GetMessageClass(descriptor.input_type).FromString, declared)


def _rpc_handler(calls: Calls, descriptor: MethodDescriptor, method: Method, handler: Any) -> Any:
    write = message_factory.GetMessageClass(descriptor.output_type).SerializeToString
    if descriptor.client_streaming:
        return grpc.stream_stream_rpc_method_handler(calls.streaming(method, handler), None, write)
    if descriptor.server_streaming:
        return grpc.unary_stream_rpc_method_handler(calls.streaming(method, handler), None, write)
    return grpc.unary_unary_rpc_method_handler(calls.unary(method, handler), None, write)
