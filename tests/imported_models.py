"""Models as other projects make them: float, NCHW, other names, logits or probabilities; tiny, with known answers.

All of them average each channel of the (scaled) image and multiply with WEIGHTS.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvserve.preproc import encode_input

LABELS = ("red", "green", "blue", "none")
WEIGHTS = np.array([[9, 0, 0, 1], [0, 9, 0, 1], [0, 0, 9, 1]], np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def expected(pixels: np.ndarray, input_spec: Any) -> np.ndarray:
    """Probabilities [B, 4] for uint8 pixels [B, H, W, 3] behind an InputSpec of float32."""
    values = encode_input(pixels, input_spec)
    axes = (2, 3) if input_spec.layout == "NCHW" else (1, 2)
    return softmax(values.mean(axis=axes, dtype=np.float64) @ WEIGHTS)


def write_onnx(
    path: Path,
    *,
    batch: int | str = "N",
    size: int | str = 8,
    layout: str = "NCHW",
    logits: bool = True,
    sigmoid: bool = False,
    half: bool = False,
    extra_output: bool = False,
    external: bool = False,
    broken: bool = False,
) -> Path:
    """`data` float32 to `scores` [batch, 4] (and `means` [batch, 3])."""
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    real = onnx.TensorProto.FLOAT16 if half else onnx.TensorProto.FLOAT
    shape = [batch, 3, size, size] if layout == "NCHW" else [batch, size, size, 3]
    weights = (WEIGHTS * np.float32(np.nan if broken else 1)).astype(np.float16 if half else np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["data"], ["means"], axes=[2, 3] if layout == "NCHW" else [1, 2], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["scores" if logits else "raw"]),
    ]
    if not logits:
        last = {} if sigmoid else {"axis": 1}
        nodes.append(helper.make_node("Sigmoid" if sigmoid else "Softmax", ["raw"], ["scores"], **last))
    outputs = [helper.make_tensor_value_info("scores", real, [batch, 4])]
    if extra_output:
        outputs.append(helper.make_tensor_value_info("means", real, [batch, 3]))
    graph = helper.make_graph(
        nodes,
        "imported",
        [helper.make_tensor_value_info("data", real, shape)],
        outputs,
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    options = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 0} if external else {}
    onnx.save(model, str(path), **options)
    return path


def write_saved_model(directory: Path, signature: str = "predict") -> Path:
    """`input_1` float32 [None, 8, 8, 3] to `dense` (logits) under a signature of another name, with a stray file."""
    tf = pytest.importorskip("tensorflow")

    class ChannelMeans(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = tf.Variable(WEIGHTS)

        @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3), tf.float32, name="input_1")])
        def call(self, input_1):
            return {"dense": tf.reduce_mean(input_1, (1, 2)) @ self.weights}

    module = ChannelMeans()
    tf.saved_model.save(module, str(directory), signatures={signature: module.call})
    (directory / "notes.txt").write_text("not a part of the SavedModel")
    return directory


def write_keras(path: Path, *, logits: bool = True) -> Path:
    """float32 [None, 8, 8, 3] to one tensor [None, 4], without names that mean anything."""
    keras = pytest.importorskip("keras")
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    dense = keras.layers.Dense(4, use_bias=False, activation=None if logits else "softmax", name="predictions")
    model = keras.Model(inputs, dense(x))
    dense.set_weights([WEIGHTS])
    model.compile("adam", "mse")
    model.save(path)
    return path
