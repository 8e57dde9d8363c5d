"""Reflection: which services the port has, and what their messages look like.

Under both of its names: older tools ask for v1alpha, newer ones for v1 first. The messages are the same.
"""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from cvserve.protos import tensorflow_serving, vision_pb2
from cvserve.serving.transport.grpc.calls import Requests
from cvserve.serving.transport.grpc.health import SERVICES

V1 = "grpc.reflection.v1.ServerReflection"
V1ALPHA = reflection.SERVICE_NAME
SERVICE: ServiceDescriptor = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]


class Reflection:
    """Answers for every service that has a full name."""

    def __init__(self) -> None:
        named = [service for service in SERVICES if "." in service]
        self._servicer = reflection.aio.ReflectionServicer((*named, "grpc.health.v1.Health", V1, V1ALPHA), pool=_pool())

    async def ServerReflectionInfo(self, requests: Requests[Any], context: grpc.aio.ServicerContext) -> None:
        async for answer in self._servicer.ServerReflectionInfo(requests, context):
            await context.write(answer)


def _pool() -> DescriptorPool:
    """Describes every service of the port."""
    pool = tensorflow_serving.new_pool()
    for module in (vision_pb2, health_pb2, reflection_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(_v1().SerializeToString())
    return pool


def _v1() -> descriptor_pb2.FileDescriptorProto:
    """grpc/reflection/v1/reflection.proto: v1alpha's under another name."""
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
