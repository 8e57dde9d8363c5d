"""Half-plus-two asked over gRPC as an unmodified client of tensorflow-serving-api asks it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import half_plus_two
import numpy as np
import pytest

from cvserve.serving import Server, ServerSettings

tf = pytest.importorskip("tensorflow")
pytest.importorskip("tensorflow_serving")
pytest.importorskip("ai_edge_litert")

from tensorflow_serving.apis import (  # noqa: E402
    classification_pb2,
    inference_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from cvserve.protos import vision_pb2_grpc  # noqa: E402

CODES = grpc.StatusCode
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"
FORMS = ("tf1", "tf1_text", "tf2", "tflite", "tflite_without_signature")


def write_models(root: Path) -> Path:
    """Writes a repository of all forms, each in the version directory 00000123."""
    half_plus_two.write_tf1(root / "tf1" / "00000123")
    half_plus_two.write_tf1(root / "tf1_text" / "00000123", text=True)
    half_plus_two.write_tf2(root / "tf2" / "00000123")
    half_plus_two.write_tflite(root / "tflite" / "00000123")
    half_plus_two.write_tflite(root / "tflite_without_signature" / "00000123", signature=False)
    return root


class Stubs:
    def __init__(self, server: Server, channel: grpc.aio.Channel) -> None:
        self.server = server
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self.vision = vision_pb2_grpc.VisionServiceStub(channel)


@asynccontextmanager
async def asking(path: Path, **settings: Any) -> AsyncIterator[Stubs]:
    values = ServerSettings(**({"host": "127.0.0.1", "port": 0, "http_port": -1, "grace_seconds": 5} | settings))
    async with Server(path, values) as server, grpc.aio.insecure_channel(server.address) as channel:
        yield Stubs(server, channel)


def spec(message: Any, name: str, signature: str = "") -> Any:
    message.name = name
    message.signature_name = signature
    return message


def predict(name: str, x: Any, signature: str = "") -> Any:
    message = predict_pb2.PredictRequest()
    spec(message.model_spec, name, signature)
    message.inputs["x"].CopyFrom(tf.make_tensor_proto(np.asarray(x, np.float32)))
    return message


def example(**features: float) -> Any:
    message = tf.train.Example()
    for name, value in features.items():
        message.features.feature[name].float_list.value.append(value)
    return message


def with_examples(message: Any, *examples: Any) -> Any:
    message.input.example_list.examples.extend(examples)
    return message


def classify(*examples: Any, name: str = "tf1", signature: str = "classify_x_to_y") -> Any:
    message = classification_pb2.ClassificationRequest()
    spec(message.model_spec, name, signature)
    return with_examples(message, *examples)


def regress(*examples: Any, name: str = "tf1", signature: str = "regress_x_to_y") -> Any:
    message = regression_pb2.RegressionRequest()
    spec(message.model_spec, name, signature)
    return with_examples(message, *examples)


def multi(*tasks: tuple[str, str], name: str = "tf1", examples: tuple[Any, ...] = (example(x=2.0),)) -> Any:
    message = inference_pb2.MultiInferenceRequest()
    for signature, method in tasks:
        task = message.tasks.add(method_name=method)
        spec(task.model_spec, name, signature)
    return with_examples(message, *examples)


async def code_and_text(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code(), error.value.details() or ""
