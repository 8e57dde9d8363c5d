"""Tiny models of objects with masks for tests: a Keras network with random weights, and an ONNX graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvserve.artifact import (
    Artifact,
    BoxCoding,
    DetectionPostproc,
    Graph,
    Manifest,
    OutputSpec,
    PreprocSpec,
    file_entry,
    publish,
)

LABELS = ("cat", "dog", "bird")
SIZE = (48, 64)
PREPROC = PreprocSpec(height=48, width=64, resize="letterbox")
POSTPROC = DetectionPostproc(boxes=BoxCoding(kind="boxes"), iou_threshold=0.5)
CELLS = 14

BOXES = ((4.0, 4.0, 32.0, 40.0), (30.0, 10.0, 62.0, 44.0), (0.0, 0.0, 0.0, 0.0))
SCORES = (0.8, 0.6, 0.0)
CLASSES = (1, 2, 0)
WINDOW = (slice(10, 24), slice(20, 34))
"""Rows and columns of the graph's input whose red channel is the mask of the first object; the second has 1 less it."""


def make_instances() -> Any:
    """uint8 [B, 48, 64, 3] to boxes, scores, classes and masks that depend on the image; always the same weights."""
    keras = pytest.importorskip("keras")
    layers, ops = keras.layers, keras.ops
    keras.utils.set_random_seed(5)
    images = keras.Input((*SIZE, 3), dtype="uint8", name="images")
    features = layers.Rescaling(1 / 127.5, offset=-1.0)(images)
    features = layers.Conv2D(8, 5, strides=8, padding="same", activation="relu")(features)
    flat = layers.Flatten()(features)
    count = 6

    def dense(size: int, spread: float) -> Any:
        return layers.Dense(size, kernel_initializer=keras.initializers.RandomNormal(0, spread))(flat)

    places = ops.sigmoid(layers.Reshape((count, 4))(dense(4 * count, 0.3))) * np.array([40, 30, 20, 14], np.float32)
    corners = ops.concatenate([places[..., :2], places[..., :2] + places[..., 2:] + 4.0], axis=-1)
    scores, order = ops.top_k(ops.sigmoid(dense(count, 0.4)), count)
    classes = ops.cast(ops.mod(order, len(LABELS)), "int32")
    masks = ops.sigmoid(layers.Reshape((count, CELLS, CELLS))(dense(count * CELLS * CELLS, 1.0)))
    return keras.Model(
        images, {"boxes": corners, "scores": scores, "classes": classes, "masks": masks}, name="tiny_instances"
    )


def publish_instances(model_directory: Path, preproc: PreprocSpec = PREPROC) -> Artifact:
    """Publishes the next version of a model that finds two objects in every image, at BOXES, with masks made from
    its pixels (see WINDOW)."""

    def build(directory: Path, version: int) -> Manifest:
        _write_graph(directory / "model.onnx", preproc.height, preproc.width)
        return Manifest(
            name=model_directory.name,
            version=version,
            task="detection",
            labels=LABELS,
            preproc=preproc,
            outputs=(
                OutputSpec(name="boxes", role="boxes", shape=(3, 4)),
                OutputSpec(name="scores", role="scores", shape=(3,)),
                OutputSpec(name="classes", role="classes", dtype="int32", shape=(3,)),
                OutputSpec(name="masks", role="masks", shape=(3, CELLS, CELLS)),
            ),
            postproc=POSTPROC,
            graphs=(Graph(format="onnx", files=(file_entry(directory, directory / "model.onnx"),)),),
        )

    return publish(model_directory, build)


def _write_graph(path: Path, height: int, width: int) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    constants = {
        "zero": np.float32(0),
        "boxes_of": np.array([BOXES], np.float32),
        "scores_of": np.array([SCORES], np.float32),
        "classes_of": np.array([CLASSES], np.float32),
        "starts": np.array([WINDOW[0].start, WINDOW[1].start, 0]),
        "ends": np.array([WINDOW[0].stop, WINDOW[1].stop, 1]),
        "axes": np.array([1, 2, 3]),
        "whole": np.float32(255),
        "mask_shape": np.array([-1, 1, CELLS, CELLS]),
        "factors": np.array([1, -1, 0], np.float32).reshape(1, 3, 1, 1),
        "offsets": np.array([0, 1, 0], np.float32).reshape(1, 3, 1, 1),
        "as_row": np.array([-1, 1]),
        "as_rows": np.array([-1, 1, 1]),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["means"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["means", "zero"], ["zeros"]),
        helper.make_node("Reshape", ["zeros", "as_row"], ["row"]),
        helper.make_node("Reshape", ["zeros", "as_rows"], ["rows"]),
        helper.make_node("Add", ["rows", "boxes_of"], ["boxes"]),
        helper.make_node("Add", ["row", "scores_of"], ["scores"]),
        helper.make_node("Add", ["row", "classes_of"], ["class_numbers"]),
        helper.make_node("Cast", ["class_numbers"], ["classes"], to=TensorProto.INT32),
        helper.make_node("Slice", ["pixels", "starts", "ends", "axes"], ["window"]),
        helper.make_node("Div", ["window", "whole"], ["shares"]),
        helper.make_node("Reshape", ["shares", "mask_shape"], ["mask"]),
        helper.make_node("Mul", ["mask", "factors"], ["scaled"]),
        helper.make_node("Add", ["scaled", "offsets"], ["masks"]),
    ]
    outputs = {
        "boxes": (TensorProto.FLOAT, [3, 4]),
        "scores": (TensorProto.FLOAT, [3]),
        "classes": (TensorProto.INT32, [3]),
        "masks": (TensorProto.FLOAT, [3, CELLS, CELLS]),
    }
    graph = helper.make_graph(
        nodes,
        "instances",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", height, width, 3])],
        [helper.make_tensor_value_info(name, kind, ["batch", *shape]) for name, (kind, shape) in outputs.items()],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
