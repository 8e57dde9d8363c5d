"""Writes cvserve/protos/tensorflow_serving.binpb: the descriptors of TensorFlow Serving's API and of what it builds on.

    python tools/collect_protos.py        # this is a part of `make protos`

They come from the packages tensorflow and tensorflow-serving-api (Apache License 2.0) as they are installed; the server
then needs neither. ModelService is added, of which tensorflow-serving-api has the stubs and no descriptor.
"""

from __future__ import annotations

from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    prediction_log_pb2,
    prediction_service_pb2,
)

TARGET = Path(__file__).resolve().parents[1] / "cvserve" / "protos" / "tensorflow_serving.binpb"

WANTED = (prediction_service_pb2, get_model_status_pb2, model_management_pb2, prediction_log_pb2)


def main() -> None:
    files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    for module in WANTED:
        collect(module.DESCRIPTOR.name, files)
    service = model_service()
    files[service.name] = service
    collected = descriptor_pb2.FileDescriptorSet(file=files.values())
    TARGET.write_bytes(collected.SerializeToString(deterministic=True))
    print(f"{len(files)} files, {TARGET.stat().st_size} bytes")


def collect(name: str, files: dict[str, descriptor_pb2.FileDescriptorProto]) -> None:
    """Adds a file after those that it imports."""
    if name in files:
        return
    file = descriptor_pb2.FileDescriptorProto()
    descriptor_pool.Default().FindFileByName(name).CopyToProto(file)
    for dependency in file.dependency:
        collect(dependency, files)
    files[name] = file


def model_service() -> descriptor_pb2.FileDescriptorProto:
    """tensorflow_serving/apis/model_service.proto, from the messages of its methods."""
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
        for descriptor in (request.DESCRIPTOR, response.DESCRIPTOR):
            if descriptor.file.name not in file.dependency:
                file.dependency.append(descriptor.file.name)
        asked, answered = f".{request.DESCRIPTOR.full_name}", f".{response.DESCRIPTOR.full_name}"
        service.method.add(name=method, input_type=asked, output_type=answered)
    return file


if __name__ == "__main__":
    main()
