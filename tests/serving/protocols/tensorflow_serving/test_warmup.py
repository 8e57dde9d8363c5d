"""assets.extra/tf_serving_warmup_requests: replayed while loading; a failure of one makes the load fail."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import half_plus_two
import numpy as np
import pytest

from cvserve.errors import ArtifactError
from cvserve.serving.core.settings import ModelSettings
from cvserve.serving.protocols.tensorflow_serving import warmup
from cvserve.serving.server import load

tf = pytest.importorskip("tensorflow")
pytest.importorskip("tensorflow_serving")

from tensorflow_serving.apis import prediction_log_pb2  # noqa: E402


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return half_plus_two.write_tf1(tmp_path / "1")


def write(model: Path, records: Sequence[bytes | Any]) -> Path:
    file = model / warmup.FILE
    file.parent.mkdir()
    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in records:
            writer.write(record if isinstance(record, bytes) else record.SerializeToString())
    return file


def predict(x: Any, signature: str = "", outputs: Sequence[str] = ()) -> Any:
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = "half_plus_two"
    request.model_spec.signature_name = signature
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.asarray(x, np.float32)))
    request.output_filter.extend(outputs)
    return log


def with_example(message: Any, x: float = 2.0) -> Any:
    message.input.example_list.examples.add().features.feature["x"].float_list.value.append(x)
    return message


def regress(signature: str = "regress_x_to_y") -> Any:
    log = prediction_log_pb2.PredictionLog()
    log.regress_log.request.model_spec.signature_name = signature
    with_example(log.regress_log.request)
    return log


def classify() -> Any:
    log = prediction_log_pb2.PredictionLog()
    log.classify_log.request.model_spec.signature_name = "classify_x_to_y"
    with_example(log.classify_log.request)
    return log


def multi(method: str = "tensorflow/serving/regress") -> Any:
    log = prediction_log_pb2.PredictionLog()
    request = log.multi_inference_log.request
    request.tasks.add(method_name=method).model_spec.signature_name = "regress_x_to_y"
    with_example(request)
    return log


class Recorder:
    """Replaces a signature's graph and records its calls."""

    def __init__(self, run: Any) -> None:
        self._run = run
        self.calls: list[tuple[dict[str, Any], Any]] = []

    def __call__(self, inputs: Any, outputs: Any) -> Any:
        self.calls.append((dict(inputs), outputs))
        return self._run(inputs, outputs)


def test_every_kind_of_record_runs_through_its_signature(model: Path) -> None:
    loaded = load(model, ModelSettings())
    runs = {key: Recorder(run) for key, run in loaded.entries[0].runs.items()}
    records = [predict([1.0]), predict([[1.0], [2.0]], outputs=["y"]), regress(), classify(), multi()]
    write(model, [*records, prediction_log_pb2.PredictionLog()])
    assert warmup.replay(model, loaded.signatures, runs) == 6
    assert [call[1] for call in runs["serving_default"].calls] == [None, ("y",)]
    np.testing.assert_array_equal(runs["serving_default"].calls[1][0]["x"], [[1.0], [2.0]])
    assert [call[1] for call in runs["regress_x_to_y"].calls] == [("outputs",), ("outputs",)]
    [(inputs, outputs)] = runs["classify_x_to_y"].calls
    assert outputs == ("scores",)
    assert tf.train.Example.FromString(inputs["inputs"][0]).features.feature["x"].float_list.value[0] == 2.0
    loaded.close()


def test_a_model_with_good_records_loads(model: Path) -> None:
    write(model, [predict([1.0]), regress(), classify(), multi()])
    load(model, ModelSettings()).close()


def session_run() -> Any:
    log = prediction_log_pb2.PredictionLog()
    log.session_run_log.SetInParent()
    return log


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (predict([1.0], "nope"), 'warmup_requests fails: Serving signature key "nope" not found.'),
        (predict([1.0], outputs=["z"]), "output tensor alias not found in signature: z"),
        (predict([1.0], "regress_x_to_y"), "Inputs expected to be in the set {inputs}"),
        (regress("classify_x_to_y"), "No regression outputs found in SignatureDef"),
        (multi("tensorflow/serving/predict"), "Unsupported signature method_name"),
        (session_run(), "Unsupported log_type for warmup: session_run_log"),
        (b"\xff\xff no PredictionLog", "Failed to parse warmup record 1 from"),
    ],
)
def test_a_failing_record_fails_the_load(model: Path, record: Any, text: str) -> None:
    write(model, [predict([1.0]), record])
    with pytest.raises(ArtifactError) as error:
        load(model, ModelSettings())
    assert text in str(error.value)


def test_too_many_records_fail_the_load(model: Path) -> None:
    nothing = prediction_log_pb2.PredictionLog()
    file = write(model, [nothing] * 1001)
    with pytest.raises(ArtifactError, match="Number of warmup records exceeds the maximum"):
        load(model, ModelSettings())
    with tf.io.TFRecordWriter(str(file)) as writer:
        for _ in range(1000):
            writer.write(nothing.SerializeToString())
    load(model, ModelSettings()).close()


def test_a_file_that_is_not_a_tfrecord_fails_the_load(model: Path) -> None:
    write(model, [predict([1.0])]).write_bytes(b"these are no records, whatever the name of the file says")
    with pytest.raises(ArtifactError, match="Please verify your warmup data is in TFRecord format"):
        load(model, ModelSettings())


def test_the_settings_give_the_number_of_iterations(model: Path) -> None:
    file = write(model, [predict([1.0], "nope")])
    load(model, ModelSettings(warmup=0)).close()
    file.unlink()
    file.parent.rmdir()
    write(model, [predict([1.0])])
    load(model, ModelSettings(warmup=3)).close()
