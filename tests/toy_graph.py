"""The same small graph in three formats: uint8 images [B, 6, 8, 3] to class sums [B, 4] and brightness [B]."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

WEIGHTS = np.random.default_rng(5).normal(size=(3, 4)).astype(np.float32)


def expected(images: np.ndarray) -> dict[str, np.ndarray]:
    """What the graphs must answer, in numpy."""
    channels = images.astype(np.float32).mean(axis=(1, 2))
    return {"sums": channels @ WEIGHTS, "brightness": channels.mean(axis=1)}


def photos(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 6, 8, 3), dtype=np.uint8)


def write_onnx(path: Path, batch: int | None = None) -> Path:
    """The graph as ONNX, with an open or a fixed batch."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, kinds = onnx.helper, onnx.TensorProto
    size = batch or "batch"
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["real"], to=kinds.FLOAT),
            helper.make_node("ReduceMean", ["real"], ["channels"], axes=[1, 2], keepdims=0),
            helper.make_node("MatMul", ["channels", "weights"], ["sums"]),
            helper.make_node("ReduceMean", ["channels"], ["brightness"], axes=[1], keepdims=0),
        ],
        "toy",
        [helper.make_tensor_value_info("images", kinds.UINT8, [size, 6, 8, 3])],
        [
            helper.make_tensor_value_info("sums", kinds.FLOAT, [size, 4]),
            helper.make_tensor_value_info("brightness", kinds.FLOAT, [size]),
        ],
        [onnx.numpy_helper.from_array(WEIGHTS, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
    return path
