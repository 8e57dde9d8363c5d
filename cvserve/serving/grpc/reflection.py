"""Reflection: which services the port has, and what their messages look like."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha import reflection

# Imported for its descriptor alone: the stubs of tensorflow-serving-api bring only the messages.
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    prediction_service_pb2,  # noqa: F401
)

from cvserve.serving.grpc.health import SERVICES


def enable(server: Any) -> None:
    """Adds the reflection service to a server, with every service that has a full name."""
    _describe_model_service()
    named = [service for service in SERVICES if "." in service]
    reflection.enable_server_reflection((*named, "grpc.health.v1.Health", reflection.SERVICE_NAME), server)


def _describe_model_service() -> None:
    """Adds model_service.proto to the pool, which tensorflow-serving-api has as stubs but not as a descriptor."""
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
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
