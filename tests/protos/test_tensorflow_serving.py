"""TensorFlow Serving's messages are those of tensorflow-serving-api, in a descriptor pool of their own."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from cvserve.protos import tensorflow_serving as protos


def test_they_are_those_of_the_installed_package() -> None:
    pytest.importorskip("tensorflow_serving")
    from tensorflow_serving.apis import (
        get_model_status_pb2,
        model_management_pb2,
        prediction_log_pb2,
        prediction_service_pb2,
    )

    pool, files = protos.new_pool(), 0
    waiting = ["tensorflow_serving/apis/model_service.proto"]
    waiting += [
        module.DESCRIPTOR.name
        for module in (get_model_status_pb2, model_management_pb2, prediction_log_pb2, prediction_service_pb2)
    ]
    for name in waiting:
        ours = descriptor_pb2.FileDescriptorProto.FromString(pool.FindFileByName(name).serialized_pb)
        if not name.endswith("model_service.proto"):  # of which the package has no descriptor
            theirs = descriptor_pb2.FileDescriptorProto()
            descriptor_pool.Default().FindFileByName(name).CopyToProto(theirs)
            assert ours == theirs, f"{name} has changed: make protos"
            files += 1
        waiting += [file for file in ours.dependency if file not in waiting]
    assert files == len(waiting) - 1 > 50


def test_messages_of_both_pools_are_equal_on_the_wire() -> None:
    pytest.importorskip("tensorflow_serving")
    from tensorflow_serving.apis import predict_pb2

    theirs = predict_pb2.PredictRequest(output_filter=["a", "b"])
    theirs.model_spec.name, theirs.model_spec.version.value = "m", 7
    theirs.inputs["x"].float_val.extend([1.5, 2.5])
    ours = protos.PredictRequest.FromString(theirs.SerializeToString())
    assert type(ours) is not type(theirs)
    assert predict_pb2.PredictRequest.FromString(ours.SerializeToString()) == theirs
    assert ours.inputs["x"].float_val[:] == [1.5, 2.5]


def test_any_message_can_be_packed() -> None:
    signatures = protos.SignatureDefMap()
    signatures.signature_def["serving_default"].method_name = "tensorflow/serving/predict"
    response = protos.GetModelMetadataResponse()
    response.metadata["signature_def"].Pack(signatures)
    assert response.metadata["signature_def"].type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    again = protos.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(again)
    assert again == signatures


def test_services_and_numbers() -> None:
    names = [method.name for method in protos.PREDICTION_SERVICE.methods]
    assert sorted(names) == ["Classify", "GetModelMetadata", "MultiInference", "Predict", "Regress"]
    assert [method.name for method in protos.MODEL_SERVICE.methods] == ["GetModelStatus", "HandleReloadConfigRequest"]
    assert (protos.DataType.DT_FLOAT, protos.DataType.Name(23)) == (1, "DT_UINT64")
