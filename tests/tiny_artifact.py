"""A real but tiny model for tests: an ONNX graph that answers which of red, green and blue an image has most of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from cvserve.artifact import Artifact, Graph, Manifest, OutputSpec, PreprocSpec, Provenance, file_entry, publish

LABELS = ("red", "green", "blue")
SIZE = 16


def publish_tiny(
    model_directory: Path, name: str | None = None, write: Callable[[Path], None] | None = None
) -> Artifact:
    """Publishes the next version of the colour model under `model_directory`, or of another graph like it."""

    def build(directory: Path, version: int) -> Manifest:
        (write or write_graph)(directory / "model.onnx")
        return Manifest(
            name=name or model_directory.name,
            version=version,
            task="classification",
            labels=LABELS,
            preproc=PreprocSpec(height=SIZE, width=SIZE, resize="exact"),
            outputs=(OutputSpec(name="probabilities", role="probabilities", shape=(3,)),),
            graphs=(Graph(format="onnx", files=(file_entry(directory, directory / "model.onnx"),)),),
            provenance=Provenance(architecture="mean colour", created="2026-01-01T00:00:00Z"),
        )

    return publish(model_directory, build)


def write_graph(path: Path) -> None:
    """uint8 `images` [batch, 16, 16, 3] -> mean over the pixels, softmax of a tenth of it -> `probabilities`."""
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2], keepdims=0),
            helper.make_node("Mul", ["mean", "tenth"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        "colour",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor("tenth", TensorProto.FLOAT, [], [0.1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def write_image(path: Path, color: str, size: tuple[int, int] = (24, 20)) -> Path:
    """An image of one colour, [height, width], in the format that the suffix says."""
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[..., LABELS.index(color)] = 200
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded, data = cv2.imencode(path.suffix, pixels[..., ::-1])
    assert encoded
    path.write_bytes(data.tobytes())
    return path
