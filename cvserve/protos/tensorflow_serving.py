"""The messages and services of TensorFlow Serving's API, without TensorFlow.

tensorflow-serving-api has them too, and imports all of TensorFlow for it: half a gigabyte of memory and two seconds for
a server that runs ONNX. These come from their descriptors alone (tensorflow_serving.binpb, which
tools/collect_protos.py writes), in a pool of their own, so that TensorFlow and tensorflow-serving-api may be in the
same process. Messages of the two worlds are equal on the wire and not the same types: from one to the other they go as
bytes.

A name ending in `_SERVICE` is a ServiceDescriptor, every other a message's class, as protobuf generates it.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper


def new_pool() -> descriptor_pool.DescriptorPool:
    """A pool that knows all of these, and may learn more."""
    described = files("cvserve.protos").joinpath("tensorflow_serving.binpb").read_bytes()
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(described).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


_POOL = new_pool()


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(name))


def _service(name: str) -> ServiceDescriptor:
    found: ServiceDescriptor = _POOL.FindServiceByName(name)
    return found


PREDICTION_SERVICE = _service("tensorflow.serving.PredictionService")
MODEL_SERVICE = _service("tensorflow.serving.ModelService")

PredictRequest = _message("tensorflow.serving.PredictRequest")
PredictResponse = _message("tensorflow.serving.PredictResponse")
ClassificationResponse = _message("tensorflow.serving.ClassificationResponse")
RegressionResponse = _message("tensorflow.serving.RegressionResponse")
MultiInferenceResponse = _message("tensorflow.serving.MultiInferenceResponse")
GetModelMetadataResponse = _message("tensorflow.serving.GetModelMetadataResponse")
SignatureDefMap = _message("tensorflow.serving.SignatureDefMap")
GetModelStatusResponse = _message("tensorflow.serving.GetModelStatusResponse")
ReloadConfigResponse = _message("tensorflow.serving.ReloadConfigResponse")
ModelServerConfig = _message("tensorflow.serving.ModelServerConfig")
PredictionLog = _message("tensorflow.serving.PredictionLog")

TensorProto = _message("tensorflow.TensorProto")
TensorInfo = _message("tensorflow.TensorInfo")
Example = _message("tensorflow.Example")
Feature = _message("tensorflow.Feature")
ConfigProto = _message("tensorflow.ConfigProto")
DataType: Any = EnumTypeWrapper(_POOL.FindEnumTypeByName("tensorflow.DataType"))
