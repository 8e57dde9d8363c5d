"""Requests that TensorFlow Serving replays before it takes a model into service."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from cvserve.export.detect_signature import DETECT_SIGNATURE
from cvserve.export.network import INPUT
from cvserve.export.saved_model import BYTES_INPUT, BYTES_SIGNATURE
from cvserve.runtimes.tensorflow import import_tensorflow

FILE = "assets.extra/tf_serving_warmup_requests"


def can_write_warmup() -> bool:
    """Whether tensorflow-serving-api, which has the protocol buffers, is installed."""
    return find_spec("tensorflow_serving") is not None


def write_warmup(
    directory: Path, name: str, images: np.ndarray, encoded: Sequence[bytes], *, detect: bool = False
) -> Path:
    """Writes a record each of one picture, up to eight pictures, one encoded picture.

    Args:
        directory: of the SavedModel.
        name: of the model.
        images: uint8 [N, H, W, 3].
        encoded: encoded pictures, of which the first is used.
        detect: also one picture for the signature `detect`.

    Returns:
        The written file, a TFRecord of PredictionLog, as TensorFlow Serving's "SavedModel Warmup" page asks.
    """
    tf = import_tensorflow()
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    def record(signature: str, input_name: str, value: Any) -> bytes:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = name
        request.model_spec.signature_name = signature
        request.inputs[input_name].CopyFrom(tf.make_tensor_proto(value))
        log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
        return bytes(log.SerializeToString())

    records = [record("serving_default", INPUT, images[:1]), record("serving_default", INPUT, images[:8])]
    if encoded:
        records.append(record(BYTES_SIGNATURE, BYTES_INPUT, np.array(encoded[:1], object)))
    if detect:
        records.append(record(DETECT_SIGNATURE, INPUT, images[:1]))
    path = directory / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for item in records:
            writer.write(item)
    return path
