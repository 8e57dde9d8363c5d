"""Reflection: which services the port has, and what their messages look like.

Under both of its names: older tools ask for v1alpha, newer ones for v1 first. The messages are the same.
"""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import ServiceDescriptor
from grpc_reflection.v1alpha import reflection, reflection_pb2

# Imported for their descriptors alone: the stubs of tensorflow-serving-api bring only the messages.
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    prediction_service_pb2,  # noqa: F401
)

from cvserve.serving.grpc.calls import Requests
from cvserve.serving.grpc.health import SERVICES

V1 = "grpc.reflection.v1.ServerReflection"
V1ALPHA = reflection.SERVICE_NAME
SERVICE: ServiceDescriptor = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]


class Reflection:
    """Answers for every service that has a full name."""

    def __init__(self) -> None:
        _describe_v1()
        model_service()
        named = [service for service in SERVICES if "." in service]
        self._servicer = reflection.aio.ReflectionServicer((*named, "grpc.health.v1.Health", V1, V1ALPHA))

    async def ServerReflectionInfo(self, requests: Requests[Any], context: grpc.aio.ServicerContext) -> None:
        async for answer in self._servicer.ServerReflectionInfo(requests, context):
            await context.write(answer)


def model_service() -> ServiceDescriptor:
    """The descriptor of ModelService, which tensorflow-serving-api has as stubs alone; put into the pool for
    reflection."""
    file = descriptor_pb2.FileDescriptorProto(
        name="tensorflow_serving/apis/model_service.proto", package="tensorflow.serving", syntax="proto3"
    )
    service = file.service.add(name="ModelService")
    for method, request, response in (
        ("GetModelStatus", get_model_status_pb2.GetModelStatusRequest, get_model_status_pb2.GetModelStatusResponse),
        (
            "HandleReloadConfigRequest",
            model_management_pb2.ReloadConfigRequest,
            model_management_pb2.ReloadConfigResponse,
        ),
    ):
        descriptors = request.DESCRIPTOR, response.DESCRIPTOR
        for descriptor in descriptors:
            if descriptor.file.name not in file.dependency:
                file.dependency.append(descriptor.file.name)
        asked, answered = (f".{descriptor.full_name}" for descriptor in descriptors)
        service.method.add(name=method, input_type=asked, output_type=answered)
    return _added(file, "tensorflow.serving.ModelService")


def _describe_v1() -> None:
    """Puts grpc/reflection/v1/reflection.proto, v1alpha's under another name, into the pool."""
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
    _added(file, V1)


def _in_v1(name: str) -> str:
    return name.replace("grpc.reflection.v1alpha", "grpc.reflection.v1")


def _added(file: descriptor_pb2.FileDescriptorProto, service: str) -> ServiceDescriptor:
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    found: ServiceDescriptor = pool.FindServiceByName(service)
    return found
