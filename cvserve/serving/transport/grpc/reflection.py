"""Server reflection: describes the services of the port and their messages to clients.

It has both of its names: older tools ask for v1alpha, newer ones for v1 first. The messages are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection, reflection_pb2

from cvserve.serving.transport.grpc.calls import Requests
from cvserve.serving.transport.protocol import GrpcMethod, GrpcService

V1 = "grpc.reflection.v1.ServerReflection"
V1ALPHA = reflection.SERVICE_NAME
SERVICE: ServiceDescriptor = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]


def reflection_services(services: Sequence[GrpcService]) -> list[GrpcService]:
    """Returns the reflection service under both of its names, which describes these services and itself."""
    servicer = Reflection(services)
    methods = {"ServerReflectionInfo": GrpcMethod(right=None)}
    return [GrpcService(SERVICE, servicer, methods, full_name=name) for name in (V1ALPHA, V1)]


class Reflection:
    """Describes services from their descriptors."""

    def __init__(self, services: Sequence[GrpcService]) -> None:
        pool = DescriptorPool()
        known: set[str] = set()
        for service in services:
            _add_file(pool, service.descriptor.file, known)
        _add_file(pool, SERVICE.file, known)
        pool.AddSerializedFile(_v1().SerializeToString())
        names = [service.name for service in services]
        self._servicer = reflection.aio.ReflectionServicer((*names, V1, V1ALPHA), pool=pool)

    async def ServerReflectionInfo(self, requests: Requests[Any], context: grpc.aio.ServicerContext) -> None:
        """Answers each request of a stream."""
        async for answer in self._servicer.ServerReflectionInfo(requests, context):
            await context.write(answer)


def _add_file(pool: DescriptorPool, file: FileDescriptor, known: set[str]) -> None:
    """Adds a file and those that it imports to the pool, each once."""
    if file.name in known:
        return
    known.add(file.name)
    for imported in file.dependencies:
        _add_file(pool, imported, known)
    pool.AddSerializedFile(file.serialized_pb)


def _v1() -> descriptor_pb2.FileDescriptorProto:
    """Returns grpc/reflection/v1/reflection.proto: v1alpha's under another name."""
    file = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(file)
    file.name, file.package = "grpc/reflection/v1/reflection.proto", "grpc.reflection.v1"
    file.ClearField("options")
    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = _in_v1(field.type_name)
    for method in file.service[0].method:
        method.input_type, method.output_type = _in_v1(method.input_type), _in_v1(method.output_type)
    return file


def _in_v1(name: str) -> str:
    return name.replace("grpc.reflection.v1alpha", "grpc.reflection.v1")
