"""Half-plus-two in all its forms, served without a manifest, as an unmodified tensorflow-serving-api client sees it."""

from __future__ import annotations

import asyncio
import json
import urllib.request
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
    get_model_metadata_pb2,
    inference_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from cvserve.protos import vision_pb2, vision_pb2_grpc  # noqa: E402

CODES = grpc.StatusCode
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"
FORMS = ("tf1", "tf1_text", "tf2", "tflite", "tflite_without_signature")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of all forms, each in the version directory 00000123 as TensorFlow Serving's own test data is."""
    root = tmp_path_factory.mktemp("foreign")
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


@pytest.mark.parametrize("form", FORMS)
async def test_predict_in_every_form(models: Path, form: str) -> None:
    async with asking(models / form) as ask:
        # As TensorFlow Serving's own tests ask: a vector, though the signature says [-1, 1].
        answer = await ask.prediction.Predict(predict(form, [2.0]), timeout=10)
        assert list(answer.outputs["y"].float_val) == [3.0]
        assert [dim.size for dim in answer.outputs["y"].tensor_shape.dim] == [1]
        assert (answer.model_spec.name, answer.model_spec.version.value) == (form, 123)
        assert answer.model_spec.signature_name == "serving_default"
        answer = await ask.prediction.Predict(predict(form, [[1.0], [2.0], [-4.0]]), timeout=10)
        np.testing.assert_array_equal(tf.make_ndarray(answer.outputs["y"]), [[2.5], [3.0], [0.0]])


async def test_classify_and_regress_of_the_tf1_form(models: Path) -> None:
    async with asking(models / "tf1") as ask:
        answer = await ask.prediction.Classify(classify(example(x=2.0), example(x=4.0)), timeout=10)
        rows = [[(item.label, item.score) for item in row.classes] for row in answer.result.classifications]
        assert rows == [[("", 3.0)], [("", 4.0)]]
        assert answer.model_spec.signature_name == "classify_x_to_y"
        assert answer.model_spec.version.value == 123
        for signature, expected in (("regress_x_to_y", 3.0), ("regress_x_to_y2", 4.0)):
            regressed = await ask.prediction.Regress(regress(example(x=2.0), signature=signature), timeout=10)
            assert [item.value for item in regressed.result.regressions] == [expected]
            assert regressed.model_spec.signature_name == signature


async def test_classes_of_the_tf2_form_have_labels(models: Path) -> None:
    # TF2 writes "predict" as the method of every signature, which is no reason to refuse.
    async with asking(models / "tf2") as ask:
        answer = await ask.prediction.Classify(classify(example(x=2.0), name="tf2"), timeout=10)
        [row] = answer.result.classifications
        assert [(item.label, item.score) for item in row.classes] == [("half plus two", 3.0), ("x", 2.0)]
        regressed = await ask.prediction.Regress(regress(example(x=6.0), name="tf2"), timeout=10)
        assert [item.value for item in regressed.result.regressions] == [5.0]


async def test_context_features_belong_to_every_example(models: Path) -> None:
    async with asking(models / "tf1") as ask:
        message = regress()
        listed = message.input.example_list_with_context
        listed.context.CopyFrom(example(x=10.0))
        listed.examples.extend([tf.train.Example(), example(x=2.0)])
        answer = await ask.prediction.Regress(message, timeout=10)
        assert [item.value for item in answer.result.regressions] == [7.0, 3.0]


async def test_multi_inference(models: Path) -> None:
    async with asking(models / "tf1") as ask:
        tasks = (("regress_x_to_y2", REGRESS), ("classify_x_to_y", CLASSIFY), ("regress_x_to_y", REGRESS))
        message = multi(*tasks, examples=(example(x=2.0), example(x=4.0)))
        answer = await ask.prediction.MultiInference(message, timeout=10)
        assert [result.model_spec.signature_name for result in answer.results] == [task[0] for task in tasks]
        assert {(result.model_spec.name, result.model_spec.version.value) for result in answer.results} == {
            ("tf1", 123)
        }
        first, second, third = answer.results
        assert [item.value for item in first.regression_result.regressions] == [4.0, 5.0]
        assert [row.classes[0].score for row in second.classification_result.classifications] == [3.0, 4.0]
        assert [item.value for item in third.regression_result.regressions] == [3.0, 4.0]


def other_model() -> Any:
    message = multi(("regress_x_to_y", REGRESS), ("classify_x_to_y", CLASSIFY))
    message.tasks[1].model_spec.name = "another"
    return message


def unnamed() -> Any:
    message = multi(("regress_x_to_y", REGRESS), ("classify_x_to_y", CLASSIFY))
    message.tasks[1].model_spec.name = ""
    return message


@pytest.mark.parametrize(
    ("method", "message", "code", "text"),
    [
        ("Classify", classify(), CODES.INVALID_ARGUMENT, "Input is empty."),
        ("Regress", regress(), CODES.INVALID_ARGUMENT, "Input is empty."),
        ("MultiInference", multi(("regress_x_to_y", REGRESS), examples=()), CODES.INVALID_ARGUMENT, "Input is empty."),
        (
            "Classify",
            classify(example(x=1), signature="nope"),
            CODES.INVALID_ARGUMENT,
            "No signature was found with the name: nope",
        ),
        (
            "Regress",
            regress(example(x=1), signature="nope"),
            CODES.INVALID_ARGUMENT,
            "No signature was found with the name: nope",
        ),
        (
            "Classify",
            classify(example(x=1), signature=""),
            CODES.FAILED_PRECONDITION,
            "No classification inputs found in SignatureDef: inputs {",
        ),
        (
            "Regress",
            regress(example(x=1), signature=""),
            CODES.FAILED_PRECONDITION,
            "No regression inputs found in SignatureDef: inputs {",
        ),
        (
            "Classify",
            classify(example(x=1), signature="regress_x_to_y"),
            CODES.FAILED_PRECONDITION,
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            "Signature was: inputs {",
        ),
        (
            "Regress",
            regress(example(x=1), signature="classify_x_to_y"),
            CODES.FAILED_PRECONDITION,
            "No regression outputs found in SignatureDef: inputs {",
        ),
        (
            "Regress",
            regress(example(x2=1), signature="regress_x2_to_y3"),
            CODES.INVALID_ARGUMENT,
            "input 'inputs' is bytes, but signature 'regress_x2_to_y3' takes float32",
        ),
        ("Regress", regress(example(z=1)), CODES.INVALID_ARGUMENT, "Name: <unknown>, Feature: x (data type: float)"),
        ("MultiInference", multi(), CODES.INVALID_ARGUMENT, "ModelSpec has no name specified."),
        ("MultiInference", unnamed(), CODES.INVALID_ARGUMENT, "Found ModelSpec with an empty model name."),
        (
            "MultiInference",
            other_model(),
            CODES.INVALID_ARGUMENT,
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        ),
        (
            "MultiInference",
            multi(("regress_x_to_y", REGRESS), ("regress_x_to_y", CLASSIFY)),
            CODES.INVALID_ARGUMENT,
            "Duplicate evaluation of signature: regress_x_to_y",
        ),
        (
            "MultiInference",
            multi(("nope", REGRESS)),
            CODES.INVALID_ARGUMENT,
            "Requested signature not found in model graph: nope",
        ),
        (
            "MultiInference",
            multi(("regress_x_to_y", "tensorflow/serving/predict")),
            CODES.INVALID_ARGUMENT,
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
        (
            "MultiInference",
            multi(("regress_x_to_y", REGRESS), ("regress_x2_to_y3", REGRESS)),
            CODES.INVALID_ARGUMENT,
            "Input tensor must be the same for all Signatures.",
        ),
        (
            "Regress",
            regress(example(x=1), name="nope"),
            CODES.NOT_FOUND,
            "Servable not found for request: Latest(nope)",
        ),
        ("Classify", classify(example(x=1), name=""), CODES.INVALID_ARGUMENT, "ModelSpec has no name specified."),
        (
            "Predict",
            predict("tf1", [1.0], "nope"),
            CODES.FAILED_PRECONDITION,
            'Serving signature key "nope" not found.',
        ),
    ],
)
async def test_faults_of_clients(models: Path, method: str, message: Any, code: grpc.StatusCode, text: str) -> None:
    async with asking(models / "tf1") as ask:
        found = await code_and_text(getattr(ask.prediction, method)(message, timeout=10))
        assert found[0] is code, found
        assert found[1].startswith(text), found
        # A fault of one request is no fault of the next.
        assert (await ask.prediction.Predict(predict("tf1", [2.0]), timeout=10)).outputs["y"].float_val[0] == 3.0


@pytest.mark.parametrize("form", ["tf1", "tf2"])
async def test_metadata_is_that_of_the_file(models: Path, form: str) -> None:
    async with asking(models / form) as ask:
        message = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        spec(message.model_spec, form)
        answer = await ask.prediction.GetModelMetadata(message, timeout=10)
        found = get_model_metadata_pb2.SignatureDefMap()
        assert answer.metadata["signature_def"].Unpack(found)
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            graph = tf.compat.v1.saved_model.load(session, ["serve"], str(models / form / "00000123"))
        assert dict(found.signature_def) == dict(graph.signature_def)
        if form == "tf1":
            definition = found.signature_def["regress_x2_to_y3"]
            assert definition.method_name == REGRESS
            assert definition.inputs["inputs"].name == "x2:0"


async def test_metadata_of_a_tflite_file(models: Path) -> None:
    async with asking(models / "tflite") as ask:
        message = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        spec(message.model_spec, "tflite")
        answer = await ask.prediction.GetModelMetadata(message, timeout=10)
        found = get_model_metadata_pb2.SignatureDefMap()
        assert answer.metadata["signature_def"].Unpack(found)
        [definition] = found.signature_def.values()
        assert definition.inputs["x"].dtype == tf.float32.as_datatype_enum
        assert definition.method_name == "tensorflow/serving/predict"


async def test_images_need_a_manifest(models: Path) -> None:
    async with asking(models / "tf1") as ask:
        request = vision_pb2.ClassifyRequest(image=b"any", model=vision_pb2.ModelSpec(name="tf1"))
        code, text = await code_and_text(ask.vision.Classify(request, timeout=10))
        assert code is CODES.FAILED_PRECONDITION
        assert text.startswith("model 'tf1' has no cvserve manifest")


async def test_batches_are_shared_and_never_mix_signatures(models: Path) -> None:
    async with asking(models / "tf1", instances=1, batch_delay_ms=200, max_batch_size=8) as ask:
        serialised = [example(x=float(x)) for x in range(4)]
        answers = await asyncio.gather(
            *(ask.prediction.Regress(regress(item), timeout=10) for item in serialised),
            *(ask.prediction.Regress(regress(item, signature="regress_x_to_y2"), timeout=10) for item in serialised),
            *(ask.prediction.Predict(predict("tf1", [[float(x)]]), timeout=10) for x in range(4)),
            *(ask.prediction.Predict(predict("tf1", [float(x)]), timeout=10) for x in range(4)),
        )
        regressed = [answer.result.regressions[0].value for answer in answers[:8]]
        assert regressed == [2.0, 2.5, 3.0, 3.5, 3.0, 3.5, 4.0, 4.5]
        assert [answer.outputs["y"].float_val[0] for answer in answers[8:]] == [2.0, 2.5, 3.0, 3.5] * 2
        with ask.server.engine.manager.acquire("tf1") as servable:
            counts = servable.queue.counts
        assert counts.requests == 16
        # Vectors, whose first dimension is no batch by the signature, run alone: 4 batches of them and 3 of the others.
        assert 7 <= counts.batches < 16
        assert counts.retried == 0


async def test_a_request_larger_than_a_batch_is_split_and_a_vector_is_not(models: Path) -> None:
    async with asking(models / "tf1", max_batch_size=4) as ask:
        x = np.arange(10, dtype=np.float32)
        rows = await ask.prediction.Predict(predict("tf1", x[:, None]), timeout=10)
        np.testing.assert_array_equal(tf.make_ndarray(rows.outputs["y"]), x[:, None] / 2 + 2)
        vector = await ask.prediction.Predict(predict("tf1", x), timeout=10)
        np.testing.assert_array_equal(tf.make_ndarray(vector.outputs["y"]), x / 2 + 2)
        with ask.server.engine.manager.acquire("tf1") as servable:
            counts = servable.queue.counts
        assert (counts.batches, counts.rows, counts.padded_rows) == (3 + 1, 10 + 1, 0)


@pytest.mark.parametrize("form", FORMS)
async def test_rest_in_every_form(models: Path, form: str) -> None:
    def ask(address: str, method: str, body: dict[str, Any]) -> Any:
        url = f"{address}/v1/models/{form}:{method}"
        with urllib.request.urlopen(url, data=json.dumps(body).encode(), timeout=10) as response:
            return json.load(response)

    async with asking(models / form, http_port=0) as found:
        address = found.server.http_address
        assert address is not None
        for method, body, expected in (
            ("predict", {"instances": [1.0, 2.0, 5.0]}, {"predictions": [2.5, 3.0, 4.5]}),
            ("predict", {"instances": [[1.0], [2.0]]}, {"predictions": [[2.5], [3.0]]}),
            ("predict", {"inputs": {"x": [[2.0]]}}, {"outputs": [[3.0]]}),
        ):
            assert await asyncio.to_thread(ask, address, method, body) == expected
        if form.startswith("tf1"):
            body = {"signature_name": "regress_x_to_y", "context": {"x": 2.0}, "examples": [{}, {"x": 4.0}]}
            assert await asyncio.to_thread(ask, address, "regress", body) == {"results": [3.0, 4.0]}
            body["signature_name"] = "classify_x_to_y"
            assert await asyncio.to_thread(ask, address, "classify", body) == {"results": [[["", 3.0]], [["", 4.0]]]}
