"""Tiny segmentation models for tests: a Keras network with random weights, an ONNX graph that recognises colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cvserve.artifact import (
    Artifact,
    Graph,
    Manifest,
    OutputSpec,
    PreprocSpec,
    SegmentationPostproc,
    file_entry,
    publish,
)

LABELS = ("road", "tree", "sky", "car")
SIZE = (48, 64)
PREPROC = PreprocSpec(height=48, width=64, resize="letterbox")
COLORS = ((128, 64, 128), (0, 120, 0), (90, 160, 220), (200, 0, 40))

CHANNELS = ("red", "green", "blue")


def make_segmenter(classes: int = len(LABELS)) -> Any:
    """uint8 [B, 48, 64, 3] to class_map and confidence, which depend on the image; the same weights at each call."""
    keras = pytest.importorskip("keras")
    from cvserve.models.segmentation.segmenter import segmenter

    layers = keras.layers
    keras.utils.set_random_seed(3)
    images = keras.Input((*SIZE, 3), dtype="uint8", name="images")
    features = layers.Rescaling(1 / 127.5, offset=-1.0)(images)
    features = layers.Conv2D(8, 3, padding="same", activation="relu")(features)
    logits = layers.Conv2D(classes, 1, kernel_initializer=keras.initializers.RandomNormal(0, 4.0))(features)
    return segmenter(images, logits, name="tiny_segmenter").network


def make_images(count: int, seed: int = 0) -> np.ndarray:
    """uint8 [count, 48, 64, 3]: blocks of colour, no two alike."""
    blocks = np.random.default_rng(seed).integers(0, 256, (count, 6, 8, 3), np.uint8)
    return np.asarray(blocks.repeat(8, axis=1).repeat(8, axis=2))


def blobs(height: int, width: int, classes: int = 11) -> np.ndarray:
    """A class map as a network gives it: smooth areas of the size of 480 x 360 pixels, enlarged."""
    coarse = np.random.default_rng(0).integers(0, classes, (12, 16), np.uint8)
    smooth = cv2.medianBlur(cv2.resize(coarse, (480, 360), interpolation=cv2.INTER_NEAREST), 21)
    return cv2.resize(smooth, (width, height), interpolation=cv2.INTER_NEAREST)


def publish_colors(model_directory: Path, preproc: PreprocSpec = PREPROC) -> Artifact:
    """Publishes the next version of a model whose classes are the CHANNELS: of each pixel, the strongest one.

    Its confidence is the softmax of a hundredth of the channels.
    """

    def build(directory: Path, version: int) -> Manifest:
        _write_graph(directory / "model.onnx", preproc.height, preproc.width)
        shape = (preproc.height, preproc.width)
        return Manifest(
            name=model_directory.name,
            version=version,
            task="segmentation",
            labels=CHANNELS,
            preproc=preproc,
            outputs=(
                OutputSpec(name="class_map", role="class_map", dtype="uint8", shape=shape),
                OutputSpec(name="confidence", role="confidence", shape=shape),
            ),
            postproc=SegmentationPostproc(colors=((200, 0, 0), (0, 200, 0), (0, 0, 200))),
            graphs=(Graph(format="onnx", files=(file_entry(directory, directory / "model.onnx"),)),),
        )

    return publish(model_directory, build)


def _write_graph(path: Path, height: int, width: int) -> None:
    import onnx
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ArgMax", ["pixels"], ["best"], axis=3, keepdims=0),
        helper.make_node("Cast", ["best"], ["class_map"], to=TensorProto.UINT8),
        helper.make_node("Mul", ["pixels", "hundredth"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["shares"], axis=3),
        helper.make_node("ReduceMax", ["shares"], ["confidence"], axes=[3], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", height, width, 3])],
        [
            helper.make_tensor_value_info("class_map", TensorProto.UINT8, ["batch", height, width]),
            helper.make_tensor_value_info("confidence", TensorProto.FLOAT, ["batch", height, width]),
        ],
        [helper.make_tensor("hundredth", TensorProto.FLOAT, [], [0.01])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
