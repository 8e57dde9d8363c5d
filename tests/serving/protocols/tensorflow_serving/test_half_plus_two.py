"""Half-plus-two in all its forms, served without a manifest, with an unmodified tensorflow-serving-api client."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from half_plus_two_requests import (
    CLASSIFY,
    CODES,
    FORMS,
    REGRESS,
    asking,
    classify,
    code_and_text,
    example,
    multi,
    predict,
    regress,
    spec,
    write_models,
)
from tensorflow_serving.apis import get_model_metadata_pb2

from cvserve.protos import vision_pb2

tf = pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of all forms."""
    return write_models(tmp_path_factory.mktemp("without_manifest"))


@pytest.mark.parametrize("form", FORMS)
async def test_predict_in_every_form(models: Path, form: str) -> None:
    async with asking(models / form) as ask:
        # As in TensorFlow Serving's own tests: a vector, though the signature has [-1, 1].
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


async def test_context_features_are_added_to_every_example(models: Path) -> None:
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
