"""yolov1: a grid over the image, each cell of which predicts a class and a few boxes (Redmon et al. 2015).

"You Only Look Once", arXiv 1506.02640: grid x grid x (5 B + C) numbers, C conditional class probabilities of a cell
and for each of its B boxes x, y, w, h and the confidence that it holds an object. Different from the paper: all numbers
pass a sigmoid, whose squared error is taken (the paper's are linear), the convolutions are normalised, and the default
backbone is a light one; `backbone="darknet", neck=1024, hidden=4096, dropout=0.5` at 448 pixels is of the paper's size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from cvserve.artifact import BoxCoding, BoxLevel, DetectionPostproc
from cvserve.errors import InvalidInput
from cvserve.models.backbones import backbone_features, load_backbone_weights
from cvserve.models.backbones.darknet import LEAK, conv_norm_leaky
from cvserve.models.detection.grid_loss import grid_loss
from cvserve.models.options import check_whole, fills_whole_network
from cvserve.models.registry import Built, ModelEntry, Paper, register

_LIGHT = {"width": 32}
SUPPRESSION = 0.5


def yolov1(
    *,
    num_classes: int,
    image_size: tuple[int, int],
    weights: str | None = None,
    backbone: str = "resnet18",
    backbone_options: Mapping[str, Any] | None = None,
    grid: int = 7,
    boxes_per_cell: int = 2,
    neck: int = 256,
    hidden: int = 512,
    dropout: float = 0.0,
) -> Built:
    """Builds the network and its loss.

    Args:
        image_size: (height, width), at least 64 each.
        weights: "imagenet" (backbones of keras.applications), a file, or None.
        backbone, backbone_options: of `backbone_features`; its coarsest map is used. resnet18 without options has a
            width of 32.
        grid: cells a side; objects whose centres lie in one cell are one object to it.
        boxes_per_cell: B.
        neck: channels of the convolutions between backbone and dense layers, of stride 64. hidden: numbers of the dense
            layer between; 1024 and 4096 in the paper. dropout: behind it, 0.5 in the paper.

    Raises:
        InvalidInput: a size or option that it cannot have.
    """
    check_whole("yolov1", grid=(grid, 1), boxes_per_cell=(boxes_per_cell, 1), neck=(neck, 8), hidden=(hidden, 8))
    if not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise InvalidInput(f"yolov1 needs a dropout from 0 to below 1, not {dropout!r}")
    if min(image_size) < 64:
        raise InvalidInput(f"yolov1 takes images of at least 64 x 64 pixels, not {image_size[0]} x {image_size[1]}")
    if backbone_options is None and backbone == "resnet18":
        backbone_options = _LIGHT

    images = keras.Input((*image_size, 3), dtype="uint8", name="images")
    stages = backbone_features(images, backbone, weights=weights, **(backbone_options or {}))
    stride = max(stages)
    features = conv_norm_leaky(stages[stride], neck, 3, stride=2 if stride < 64 else 1, name="neck_1")
    features = conv_norm_leaky(features, neck, 3, name="neck_2")
    features = layers.Dense(hidden, kernel_initializer="he_normal", name="hidden")(
        layers.Flatten(name="flat")(features)
    )
    features = layers.LeakyReLU(negative_slope=LEAK, name="hidden_leaky")(features)
    if dropout:
        features = layers.Dropout(dropout, name="dropout")(features)
    cells, numbers = grid * grid, 5 * boxes_per_cell + num_classes
    answers = layers.Dense(cells * numbers, name="answers")(features)
    answers = layers.Reshape((cells, numbers), dtype="float32", name="cells")(answers)

    boxes = layers.Reshape((cells * boxes_per_cell, 5), dtype="float32", name="boxes")(
        answers[..., : 5 * boxes_per_cell]
    )
    # A cell's classes are those of each of its boxes.
    classes = layers.Reshape((cells, 1, num_classes), dtype="float32", name="classes")(
        answers[..., 5 * boxes_per_cell :]
    )
    if boxes_per_cell > 1:
        classes = layers.Concatenate(axis=2, dtype="float32", name="classes_of_boxes")([classes] * boxes_per_cell)
    outputs = {
        "box_offsets": layers.Activation("sigmoid", dtype="float32", name="box_offsets")(boxes[..., :4]),
        "class_logits": layers.Reshape((cells * boxes_per_cell, num_classes), dtype="float32", name="class_logits")(
            classes
        ),
        "objectness": layers.Reshape((cells * boxes_per_cell,), dtype="float32", name="objectness")(boxes[..., 4:]),
    }
    network = keras.Model(images, outputs, name="yolov1")
    if fills_whole_network(weights):
        load_backbone_weights(network, str(weights))

    coding = BoxCoding(kind="grid", levels=(BoxLevel(rows=grid, columns=grid),), boxes_per_cell=boxes_per_cell)
    height, width = image_size

    def loss(batch: tf.Tensor, ground_truth: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        answers = network(batch, training=True)
        return grid_loss(
            answers["box_offsets"],
            answers["class_logits"],
            answers["objectness"],
            ground_truth,
            labels,
            grid=grid,
            boxes_per_cell=boxes_per_cell,
            height=height,
            width=width,
        )

    return Built(network, DetectionPostproc(activation="sigmoid", boxes=coding, iou_threshold=SUPPRESSION), loss)


register(
    ModelEntry(
        "detection",
        "yolov1",
        yolov1,
        448,
        "a 7 x 7 grid of cells with two boxes each",
        Paper("You Only Look Once: Unified, Real-Time Object Detection", "Redmon et al.", 2015, "1506.02640"),
        parameters=12_664_922,
    )
)
