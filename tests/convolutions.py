"""A graph that gives a GPU something to do: two convolutions and a matrix product with random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np

SIZE = 16
CHANNELS = 64


def write_convolutions(path: Path) -> None:
    """uint8 `images` [batch, 16, 16, 3] to float32 `probabilities` [batch, 3], at `path` as ONNX."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(7)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        fan_in = int(np.prod(shape[1:]))
        return numpy_helper.from_array((random.normal(size=shape) * np.sqrt(2 / fan_in)).astype(np.float32), name)

    same = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["real"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["real", "scale"], ["scaled"]),
            helper.make_node("Transpose", ["scaled"], ["first"], perm=[0, 3, 1, 2]),
            helper.make_node("Conv", ["first", "w1"], ["c1"], **same),
            helper.make_node("Relu", ["c1"], ["r1"]),
            helper.make_node("Conv", ["r1", "w2"], ["c2"], **same),
            helper.make_node("Relu", ["c2"], ["r2"]),
            helper.make_node("GlobalAveragePool", ["r2"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("Gemm", ["flat", "w3"], ["logits"], transB=1),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        "convolutions",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 3])],
        [
            helper.make_tensor("scale", TensorProto.FLOAT, [], [1 / 127.5]),
            weights("w1", CHANNELS, 3, 3, 3),
            weights("w2", CHANNELS, CHANNELS, 3, 3),
            weights("w3", 3, CHANNELS),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
