"""Writes the requests that TensorFlow Serving replays before a model becomes available."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cvserve.export.detect_signature import DETECT_SIGNATURE
from cvserve.export.network import INPUT
from cvserve.export.saved_model import BYTES_INPUT, BYTES_SIGNATURE
from cvserve.protos.tensorflow_serving import PredictionLog
from cvserve.runtimes.tensorflow import import_tensorflow

FILE = "assets.extra/tf_serving_warmup_requests"


def write_warmup(
    directory: Path, name: str, images: np.ndarray, encoded: Sequence[bytes], *, detect: bool = False
) -> Path:
    """Writes a record of one image, one of up to eight images, and one of an encoded image.

    Args:
        directory: of the SavedModel.
        name: of the model.
        images: uint8 [N, H, W, 3].
        encoded: encoded images, of which the first is used.
        detect: also one image for the signature `detect`.

    Returns:
        The written file, a TFRecord of PredictionLog, as TensorFlow Serving's "SavedModel Warmup" page asks.
    """
    tf = import_tensorflow()

    def record(signature: str, input_name: str, value: Any) -> bytes:
        log = PredictionLog()
        request = log.predict_log.request
        request.model_spec.name = name
        request.model_spec.signature_name = signature
        request.inputs[input_name].ParseFromString(tf.make_tensor_proto(value).SerializeToString())
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
