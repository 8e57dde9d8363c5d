"""yolo: one stage, no anchors, distances as distributions; the default for small machines.

The structure is that of YOLOv8 (a CSP backbone, a path aggregation neck, decoupled heads): each cell
gives class scores and, for each side of its box, a distribution over distances. The graph returns the mean
(Li et al. 2020, arXiv 2006.04388, general focal loss).
"""

from __future__ import annotations

import math

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from cvserve.artifact import BoxCoding, BoxLevel, DetectionPostproc
from cvserve.errors import InvalidInput
from cvserve.models.backbones.csp import conv_norm_silu, csp_block, csp_features
from cvserve.models.backbones.weights import load_backbone_weights
from cvserve.models.detection.overlaps import complete_iou
from cvserve.models.detection.task_aligned import assign
from cvserve.models.layers import pixel_range
from cvserve.models.registry import Built, ModelEntry, Paper, register

STRIDES = (8, 16, 32)
# Weights of the three parts, as YOLOv8 has them.
BOX_GAIN, CLASS_GAIN, DISTANCE_GAIN = 7.5, 0.5, 1.5


def yolo(
    *,
    num_classes: int,
    image_size: tuple[int, int],
    weights: str | None = None,
    width: int = 16,
    depth: int = 1,
    bins: int = 16,
) -> Built:
    """Builds the network and its loss.

    Args:
        image_size: (height, width), multiples of 32.
        weights: a file, or None.
        width, depth: of `csp_features`; 16 and 1 make 3 M parameters.
        bins: distances of a side run from 0 to bins - 1 cells.

    Raises:
        InvalidInput: a size or option that it cannot have.
    """
    height, wide = image_size
    if height % 32 or wide % 32:
        raise InvalidInput(f"yolo takes images whose sides are multiples of 32 pixels, not {height} x {wide}")
    for name, value, least in (("width", width, 4), ("depth", depth, 1), ("bins", bins, 4)):
        if not isinstance(value, int) or value < least:
            raise InvalidInput(f"yolo needs a {name} of at least {least}, a whole number, not {value!r}")
    if weights == "imagenet":
        raise InvalidInput("yolo has no imagenet weights to download; give a weights file")

    images = keras.Input((height, wide, 3), dtype="uint8", name="images")
    levels = _neck(csp_features(pixel_range(images, "unit"), width=width, depth=depth), width, depth)
    class_width, box_width = max(4 * width, min(num_classes, 100)), max(16, width, 4 * bins)
    distances, logits = [], []
    for stride, features in levels.items():
        boxes = _tower(features, box_width, name=f"boxes_{stride}")
        boxes = layers.Conv2D(4 * bins, 1, bias_initializer="ones", name=f"boxes_{stride}_out")(boxes)
        distances.append(layers.Reshape((-1, 4, bins), dtype="float32", name=f"boxes_{stride}_flat")(boxes))
        classes = _tower(features, class_width, name=f"classes_{stride}")
        classes = layers.Conv2D(
            num_classes,
            1,
            # About 5 objects an image of 640 x 640 pixels.
            bias_initializer=keras.initializers.Constant(math.log(5 / num_classes / (640 / stride) ** 2)),
            name=f"classes_{stride}_out",
        )(classes)
        logits.append(layers.Reshape((-1, num_classes), dtype="float32", name=f"classes_{stride}_flat")(classes))
    bin_logits = layers.Concatenate(axis=1, dtype="float32", name="distance_logits")(distances)
    class_logits = layers.Concatenate(axis=1, dtype="float32", name="class_logits")(logits)
    offsets = ops.sum(ops.softmax(bin_logits, axis=-1) * np.arange(bins, dtype=np.float32), axis=-1)
    offsets = layers.Identity(dtype="float32", name="box_offsets")(offsets)
    network = keras.Model(images, {"box_offsets": offsets, "class_logits": class_logits}, name="yolo")
    if weights is not None:
        load_backbone_weights(network, weights)

    coding = BoxCoding(kind="distances", levels=tuple(BoxLevel(rows=height // s, columns=wide // s) for s in STRIDES))
    centers, cells = _cells(coding, height, wide)
    inner = keras.Model(images, [bin_logits, class_logits, offsets], name="yolo_training")

    def loss(batch: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        bin_values, class_values, means = inner(batch, training=True)
        return yolo_loss(bin_values, class_values, means, centers, cells, boxes, labels)

    return Built(network, DetectionPostproc(activation="sigmoid", boxes=coding), loss)


def _neck(stages: dict[int, keras.KerasTensor], width: int, depth: int) -> dict[int, keras.KerasTensor]:
    """Builds the path aggregation: coarse features down to the fine ones, and back (Liu et al. 2018, 1803.01534)."""

    def join(name: str, *parts: keras.KerasTensor) -> keras.KerasTensor:
        return layers.Concatenate(name=name)(list(parts))

    def enlarge(features: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return layers.UpSampling2D(2, name=name)(features)

    def mix(features: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
        return csp_block(features, filters, depth, shortcut=False, name=name)

    middle = mix(join("neck_join_1", enlarge(stages[32], "neck_up_1"), stages[16]), 8 * width, "neck_1")
    fine = mix(join("neck_join_2", enlarge(middle, "neck_up_2"), stages[8]), 4 * width, "neck_2")
    down = conv_norm_silu(fine, 4 * width, 3, stride=2, name="neck_down_1")
    middle = mix(join("neck_join_3", down, middle), 8 * width, "neck_3")
    down = conv_norm_silu(middle, 8 * width, 3, stride=2, name="neck_down_2")
    coarse = mix(join("neck_join_4", down, stages[32]), 16 * width, "neck_4")
    return {8: fine, 16: middle, 32: coarse}


def _tower(features: keras.KerasTensor, filters: int, *, name: str) -> keras.KerasTensor:
    features = conv_norm_silu(features, filters, 3, name=f"{name}_1")
    return conv_norm_silu(features, filters, 3, name=f"{name}_2")


def _cells(coding: BoxCoding, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns float32 [A, 2] each, x and y in pixels: the centres of the cells, and their sizes."""
    from cvserve.postproc.boxes import cells

    return cells(coding, height, width)


def yolo_loss(
    bin_logits: tf.Tensor,
    class_logits: tf.Tensor,
    offsets: tf.Tensor,
    centers: np.ndarray,
    cells: np.ndarray,
    boxes: tf.Tensor,
    labels: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Returns the three parts of the loss, each divided by the sum of the target qualities.

    Args:
        bin_logits: float32 [B, A, 4, bins]. class_logits: float32 [B, A, C]. offsets: float32 [B, A, 4], in cells.
        centers, cells: float32 [A, 2], pixels.
        boxes: float32 [B, M, 4], pixels. labels: int32 [B, M], -1 for padding.

    Returns:
        {"box", "class", "distance"}: CIoU, binary cross-entropy against the qualities, and the cross-entropy of the two
        bins around each true distance.
    """
    steps = offsets * tf.tile(cells, [1, 2])
    predicted = tf.concat([centers - steps[..., :2], centers + steps[..., 2:]], axis=-1)
    target = assign(
        tf.stop_gradient(tf.sigmoid(class_logits)), tf.stop_gradient(predicted), tf.constant(centers), boxes, labels
    )
    quality = tf.stop_gradient(target.quality)
    total = tf.maximum(tf.reduce_sum(quality), 1.0)

    wanted = tf.one_hot(target.labels, tf.shape(class_logits)[-1]) * quality[..., None]
    classes = tf.nn.sigmoid_cross_entropy_with_logits(wanted, class_logits)

    overlap = complete_iou(predicted, target.boxes)
    is_object = tf.cast(target.labels >= 0, tf.float32) * quality
    box = tf.reduce_sum((1.0 - overlap) * is_object) / total

    bins = bin_logits.shape[-1]
    sides = tf.concat([centers - target.boxes[..., :2], target.boxes[..., 2:] - centers], axis=-1)
    distance = tf.clip_by_value(sides / tf.tile(cells, [1, 2]), 0.0, bins - 1 - 0.01)
    lower = tf.floor(distance)
    share = distance - lower
    logs = tf.nn.log_softmax(bin_logits, axis=-1)
    below = tf.one_hot(tf.cast(lower, tf.int32), bins)
    above = tf.one_hot(tf.cast(lower, tf.int32) + 1, bins)
    spread = -tf.reduce_sum(logs * (below * (1.0 - share[..., None]) + above * share[..., None]), axis=-1)
    spread = tf.reduce_sum(tf.reduce_mean(spread, axis=-1) * is_object) / total
    return {
        "box": BOX_GAIN * box,
        "class": CLASS_GAIN * tf.reduce_sum(classes) / total,
        "distance": DISTANCE_GAIN * spread,
    }


register(
    ModelEntry(
        "detection",
        "yolo",
        yolo,
        320,
        "one stage without anchors, in the structure of YOLOv8",
        Paper(
            "Generalized Focal Loss: Learning Qualified and Distributed Bounding Boxes for Dense Object Detection",
            "Li et al.",
            2020,
            "2006.04388",
        ),
        parameters=3_157_184,
    )
)
