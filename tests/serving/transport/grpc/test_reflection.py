"""Reflection over a real socket."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf import descriptor_pb2
from serving_kit import Serve

pytest.importorskip("tensorflow_serving")
reflection_pb2 = pytest.importorskip("grpc_reflection.v1alpha.reflection_pb2")
reflection_pb2_grpc = pytest.importorskip("grpc_reflection.v1alpha.reflection_pb2_grpc")


async def test_reflection_lists_and_describes_the_services(serve: Serve) -> None:
    async with serve() as server, grpc.aio.insecure_channel(server.address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        requests = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol="cvserve.v1.VisionService"),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol="tensorflow.serving.PredictionService"),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol="tensorflow.serving.ModelService"),
        ]
        answers = [answer async for answer in stub.ServerReflectionInfo(iter(requests))]
        listed = {service.name for service in answers[0].list_services_response.service}
        assert {
            "cvserve.v1.VisionService",
            "tensorflow.serving.PredictionService",
            "tensorflow.serving.ModelService",
            "grpc.health.v1.Health",
        } <= listed
        [vision] = [
            descriptor_pb2.FileDescriptorProto.FromString(data)
            for data in answers[1].file_descriptor_response.file_descriptor_proto
        ]
        assert [method.name for method in vision.service[0].method] == [
            "Classify",
            "Detect",
            "Segment",
            "Caption",
            "Stream",
            "GetModelInfo",
        ]
        assert answers[2].file_descriptor_response.file_descriptor_proto
        assert answers[3].file_descriptor_response.file_descriptor_proto
