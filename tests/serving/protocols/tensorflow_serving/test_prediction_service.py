"""PredictionService and ModelService with an unmodified tensorflow-serving-api client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import numpy as np
import pytest
from serving_kit import PuppetRuntime, Serve, jpeg, pixels

tf = pytest.importorskip("tensorflow")
pytest.importorskip("tensorflow_serving")

from tensorflow_serving.apis import (  # noqa: E402
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

CODES = grpc.StatusCode


class Stubs:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self.model = model_service_pb2_grpc.ModelServiceStub(channel)


@asynccontextmanager
async def stubs(target: str) -> AsyncIterator[Stubs]:
    async with grpc.aio.insecure_channel(target) as channel:
        yield Stubs(channel)


def request(
    images: np.ndarray | None = None, *, name: str = "colours", version: int | None = None, signature: str = ""
) -> Any:
    """A PredictRequest as the official examples build it."""
    message = predict_pb2.PredictRequest()
    message.model_spec.name = name
    message.model_spec.signature_name = signature
    if version is not None:
        message.model_spec.version.value = version
    if images is not None:
        message.inputs["images"].CopyFrom(tf.make_tensor_proto(images))
    return message


async def code_and_text(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code(), error.value.details() or ""


BATCH = np.stack([pixels("red"), pixels("green"), pixels("blue")])


async def test_the_official_client_gets_probabilities_in_float_val(serve: Serve) -> None:
    async with serve() as server, stubs(server.address) as ask:
        answer = await ask.prediction.Predict(request(BATCH), timeout=10)
        probabilities = np.array(answer.outputs["probabilities"].float_val).reshape(3, 3)
        assert probabilities.argmax(axis=1).tolist() == [0, 1, 2]
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
        assert not answer.outputs["probabilities"].tensor_content
        assert tf.make_ndarray(answer.outputs["probabilities"]).shape == (3, 3)
        # The effective signature and version, though the request named neither.
        assert answer.model_spec.name == "colours"
        assert answer.model_spec.version.value == 1
        assert answer.model_spec.signature_name == "serving_default"


async def test_typed_fields_and_broadcast_as_input(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime) as server, stubs(server.address) as ask:
        message = request()
        tensor = message.inputs["images"]
        tensor.dtype = tf.uint8.as_datatype_enum
        for size in (2, 16, 16, 3):
            tensor.tensor_shape.dim.add().size = size
        tensor.int_val.append(9)
        await ask.prediction.Predict(message, timeout=10)
        np.testing.assert_array_equal(runtime.calls[-1], np.full((2, 16, 16, 3), 9, np.uint8))


async def test_the_bytes_signature_decodes_with_the_servers_own_pipeline(serve: Serve) -> None:
    async with serve(max_batch_size=2) as server, stubs(server.address) as ask:
        message = request(signature="bytes")
        images = [jpeg(color) for color in ("red", "green", "blue", "green", "red")]
        message.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(images))
        answer = await ask.prediction.Predict(message, timeout=10)
        probabilities = tf.make_ndarray(answer.outputs["probabilities"])
        assert probabilities.argmax(axis=1).tolist() == [0, 1, 2, 1, 0]
        assert answer.model_spec.signature_name == "bytes"

        message.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([jpeg(), b"no image"]))
        code, text = await code_and_text(ask.prediction.Predict(message, timeout=10))
        assert code is CODES.INVALID_ARGUMENT
        assert text.startswith("image 1: ")
        message.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([[jpeg()]]))
        code, text = await code_and_text(ask.prediction.Predict(message, timeout=10))
        assert (code, text) == (
            CODES.INVALID_ARGUMENT,
            "input 'image_bytes' must be a vector of images, not of shape [1, 1]",
        )


async def test_the_output_filter(serve: Serve, runtime: PuppetRuntime) -> None:
    async with serve(runtime) as server, stubs(server.address) as ask:
        message = request(BATCH)
        assert sorted((await ask.prediction.Predict(message, timeout=10)).outputs) == ["mean", "probabilities"]
        message.output_filter.append("mean")
        assert sorted((await ask.prediction.Predict(message, timeout=10)).outputs) == ["mean"]
        message.output_filter.append("mean")
        assert await code_and_text(ask.prediction.Predict(message, timeout=10)) == (
            CODES.INVALID_ARGUMENT,
            "duplicate output tensor alias: mean",
        )
        message.output_filter[:] = ["median"]
        assert await code_and_text(ask.prediction.Predict(message, timeout=10)) == (
            CODES.INVALID_ARGUMENT,
            "output tensor alias not found in signature: median Outputs expected to be in the set "
            "{mean,probabilities}.",
        )


def renamed() -> Any:
    message = request()
    message.inputs["photos"].CopyFrom(tf.make_tensor_proto(BATCH))
    return message


def with_extra() -> Any:
    message = request(BATCH)
    message.inputs["more"].CopyFrom(tf.make_tensor_proto(1.0))
    return message


def labelled() -> Any:
    message = request(BATCH)
    message.model_spec.version_label = "stable"
    return message


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        (request(BATCH, name="nope"), CODES.NOT_FOUND, "Servable not found for request: Latest(nope)"),
        (request(BATCH, version=7), CODES.NOT_FOUND, "Servable not found for request: Specific(colours, 7)"),
        (request(BATCH, name=""), CODES.INVALID_ARGUMENT, "ModelSpec has no name specified."),
        (request(BATCH, signature="s"), CODES.FAILED_PRECONDITION, 'Serving signature key "s" not found.'),
        (labelled(), CODES.INVALID_ARGUMENT, "Unrecognized servable version label: stable"),
        (
            request(),
            CODES.INVALID_ARGUMENT,
            "input size does not match signature: 0!=1 len({}) != len({images}). Sent extra: {}. "
            "Missing but required: {images}.",
        ),
        (
            with_extra(),
            CODES.INVALID_ARGUMENT,
            "input size does not match signature: 2!=1 len({images,more}) != len({images}). Sent extra: {more}. "
            "Missing but required: {}.",
        ),
        (
            renamed(),
            CODES.INVALID_ARGUMENT,
            "input tensor alias not found in signature: photos. Inputs expected to be in the set {images}.",
        ),
        (
            request(BATCH.astype(np.float32)),
            CODES.INVALID_ARGUMENT,
            "input 'images' is float32, but signature 'serving_default' takes uint8",
        ),
        (
            request(BATCH[:, :8]),
            CODES.INVALID_ARGUMENT,
            "input 'images' has shape [3, 8, 16, 3], but the model takes uint8 [batch, 16, 16, 3]",
        ),
        (
            request(np.zeros((0, 16, 16, 3), np.uint8)),
            CODES.INVALID_ARGUMENT,
            "input 'images' has shape [0, 16, 16, 3]: an empty batch has no answer",
        ),
        (request(np.uint8(3)), CODES.INVALID_ARGUMENT, "input 'images' has shape [], but the model takes"),
        (
            request(np.zeros((1100, 16, 16, 3), np.uint8)),
            CODES.INVALID_ARGUMENT,
            "the request has 1100 rows; model 'colours' takes at most 1024",
        ),
    ],
)
async def test_errors_of_clients(serve: Serve, message: Any, code: grpc.StatusCode, text: str) -> None:
    # A request is split, so the error of the graph has the shape of a piece.
    async with serve(max_batch_size=4) as server, stubs(server.address) as ask:
        found_code, found_text = await code_and_text(ask.prediction.Predict(message, timeout=10))
        assert found_code is code
        assert found_text.startswith(text)


async def test_signatures_in_the_metadata(serve: Serve) -> None:
    async with serve() as server, stubs(server.address) as ask:
        message = get_model_metadata_pb2.GetModelMetadataRequest()
        message.model_spec.name = "colours"
        message.metadata_field.append("signature_def")
        answer = await ask.prediction.GetModelMetadata(message, timeout=10)
        assert answer.model_spec.version.value == 1
        found = get_model_metadata_pb2.SignatureDefMap()
        assert answer.metadata["signature_def"].Unpack(found)
        default = found.signature_def["serving_default"]
        assert default.method_name == "tensorflow/serving/predict"
        images = default.inputs["images"]
        assert images.dtype == tf.uint8.as_datatype_enum
        assert [dim.size for dim in images.tensor_shape.dim] == [-1, 16, 16, 3]
        assert default.outputs["probabilities"].dtype == tf.float32.as_datatype_enum
        assert found.signature_def["bytes"].inputs["image_bytes"].dtype == tf.string.as_datatype_enum

        message.metadata_field.append("other")
        assert await code_and_text(ask.prediction.GetModelMetadata(message, timeout=10)) == (
            CODES.INVALID_ARGUMENT,
            "Metadata field other is not supported",
        )
        del message.metadata_field[:]
        assert await code_and_text(ask.prediction.GetModelMetadata(message, timeout=10)) == (
            CODES.INVALID_ARGUMENT,
            "GetModelMetadataRequest must specify at least one metadata_field",
        )
        message.ClearField("model_spec")
        assert (await code_and_text(ask.prediction.GetModelMetadata(message, timeout=10)))[1] == "Missing ModelSpec"


async def test_model_status(serve: Serve) -> None:
    async with serve() as server, stubs(server.address) as ask:
        message = get_model_status_pb2.GetModelStatusRequest()
        message.model_spec.name = "colours"
        [status] = (await ask.model.GetModelStatus(message, timeout=10)).model_version_status
        assert (status.version, status.state, status.status.error_code) == (1, 30, 0)
        message.model_spec.version.value = 3
        assert await code_and_text(ask.model.GetModelStatus(message, timeout=10)) == (
            CODES.NOT_FOUND,
            "Could not find version 3 of model colours",
        )
        message.model_spec.name = "nope"
        message.model_spec.ClearField("version")
        assert await code_and_text(ask.model.GetModelStatus(message, timeout=10)) == (
            CODES.NOT_FOUND,
            "Could not find any versions of model nope",
        )


async def test_a_model_that_does_not_take_examples_is_an_error(serve: Serve) -> None:
    from tensorflow_serving.apis import classification_pb2, regression_pb2

    async with serve() as server, stubs(server.address) as ask:
        for call, message, kind in (
            (ask.prediction.Classify, classification_pb2.ClassificationRequest(), "classification"),
            (ask.prediction.Regress, regression_pb2.RegressionRequest(), "regression"),
        ):
            message.model_spec.name = "colours"
            message.input.example_list.examples.add().features.feature["images"].int64_list.value.append(1)
            code, text = await code_and_text(call(message, timeout=10))
            assert code is CODES.FAILED_PRECONDITION
            assert text == (
                f"No {kind} inputs found in SignatureDef: inputs {{images}}, outputs {{probabilities}}, "
                "method_name 'tensorflow/serving/predict'"
            )
