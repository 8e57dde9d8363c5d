"""Decodes and suppresses boxes inside the graph: the best pairs of a box and a class become objects.

It computes what `cvserve.postproc.decoders.detection` does, without control flow (see `cvserve.models.layers.nms`), so
that every format supports it. Of equal scores another one may come first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cvserve.artifact import BoxCoding, DetectionPostproc
from cvserve.errors import ExportError
from cvserve.models.layers.nms import top_k_nms
from cvserve.postproc.boxes import anchors, cells
from cvserve.postproc.boxes.coding import MOST_LOG_SCALE


def detections(outputs: Mapping[str, Any], spec: DetectionPostproc, height: int, width: int) -> dict[str, Any]:
    """Turns raw outputs, float32 tensors by role (see `DetectionPostproc`), into the objects of each image.

    Args:
        spec: its `max_candidates` pairs of a box and a class take part in the suppression; the matrix of overlaps has
            the square of it.
        height, width: of the network's input.

    Returns:
        `boxes` float32 [B, N, 4] x1, y1, x2, y2 in pixels of the input, clipped to it, `scores` float32 [B, N]
        descending, `classes` int32 [B, N], `count` int32 [B]. Beyond an image's count everything is 0. N is
        `max_results`, or all there can be.

    Raises:
        ExportError: the number of boxes or classes is not known beforehand.
    """
    coding = spec.boxes
    assert coding is not None, "manifests of detection models have one"
    scores, places, classes = _best(outputs, spec)
    offsets = outputs["box_offsets"]
    if len(offsets.shape) == 4:
        count, each = offsets.shape[1], offsets.shape[2]
        numbers = _take(tf.reshape(offsets, (-1, count * each, 4)), places * each + classes)
    else:
        numbers = _take(offsets, places)
    proposals = None if coding.levels else _take(outputs["proposals"], places)
    boxes = _decoded(numbers, coding, height, width, proposals, places)
    boxes = tf.minimum(tf.maximum(boxes, 0.0), np.array([width, height, width, height], np.float32))
    kept = tf.logical_and(
        top_k_nms(boxes, scores, spec.iou_threshold, classes), scores >= np.float32(spec.score_threshold)
    )
    # The boxes that stay come first, in their order; a score is never negative.
    wanted, order = tf.math.top_k(tf.where(kept, scores, -1.0), min(spec.max_results, scores.shape[1]))
    real = tf.cast(wanted >= 0.0, tf.int32)
    mask = tf.cast(real, tf.float32)
    return {
        "boxes": _take(boxes, order) * mask[:, :, tf.newaxis],
        "scores": wanted * mask,
        "classes": _take(classes, order) * real,
        "count": tf.reduce_sum(real, axis=1),
    }


def _best(outputs: Mapping[str, Any], spec: DetectionPostproc) -> tuple[Any, Any, Any]:
    """Returns the best pairs of a box and a class: scores float32 [B, K] descending, boxes and classes int32 [B, K].

    The best K pairs belong to the K boxes whose best class is best: two small selections instead of one among A x C.
    """
    logits = outputs["class_logits"]
    if logits.shape[1] is None or logits.shape[2] is None:
        raise ExportError(
            "the signature detect needs a fixed number of boxes and classes, but class_logits are "
            f"{[*logits.shape]}; export without it (detect_signature=False)"
        )
    values = tf.nn.softmax(logits, axis=-1)[:, :, 1:] if spec.activation == "softmax" else tf.sigmoid(logits)
    if "objectness" in outputs:
        values *= tf.sigmoid(tf.reshape(outputs["objectness"], (-1, logits.shape[1], 1)))
    boxes, each = values.shape[1], values.shape[2]
    few = min(spec.max_candidates, boxes)
    _, places = tf.math.top_k(tf.reduce_max(values, axis=-1), few)
    flat = tf.reshape(_take(values, places), (-1, few * each))
    scores, pairs = tf.math.top_k(flat, min(spec.max_candidates, few * each))
    rows = pairs // each
    return scores, _take(places, rows), pairs - rows * each


def _decoded(offsets: Any, coding: BoxCoding, height: int, width: int, proposals: Any | None, places: Any) -> Any:
    """Decodes the chosen boxes as `cvserve.postproc.boxes.decode_boxes` does: float32 [B, K, 4]."""
    if coding.kind == "deltas":
        reference = proposals if proposals is not None else tf.gather(anchors(coding, height, width), places)
        size = reference[..., 2:] - reference[..., :2]
        scaled = offsets * np.array(coding.variances, np.float32)
        centers = reference[..., :2] + size * 0.5 + scaled[..., :2] * size
        half = size * tf.exp(tf.minimum(scaled[..., 2:], MOST_LOG_SCALE)) * 0.5
        return tf.concat([centers - half, centers + half], axis=-1)
    points, sizes = (tf.gather(part, places) for part in cells(coding, height, width))
    if coding.kind == "distances":
        return tf.concat([points - offsets[..., :2] * sizes, points + offsets[..., 2:] * sizes], axis=-1)
    centers = points + offsets[..., :2] * sizes
    half = tf.square(offsets[..., 2:]) * np.array([width / 2, height / 2], np.float32)
    return tf.concat([centers - half, centers + half], axis=-1)


def _take(values: Any, indices: Any) -> Any:
    """Returns rows [B, K, ...] of values [B, N, ...] by int32 indices [B, K]."""
    return tf.gather(values, indices, batch_dims=1)


@keras.saving.register_keras_serializable(package="cvserve")
class SuppressedBoxes(keras.layers.Layer):
    """Applies `detections` as a layer of two-stage networks.

    Args:
        postproc: how the raw outputs become boxes, as `DetectionPostproc` or its dict. image_size: (height, width).

    Call arguments:
        proposals: float32 [B, P, 4]. class_logits: float32 [B, P, C + 1]. box_offsets: float32 [B, P, C, 4].

    Returns:
        boxes float32 [B, N, 4], scores float32 [B, N] and classes int32 [B, N] of `detections`. They get no gradient.
    """

    def __init__(self, postproc: DetectionPostproc | dict[str, Any], image_size: Sequence[int], **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.postproc = DetectionPostproc.model_validate(postproc)
        self.image_size = tuple(image_size)

    def call(
        self, proposals: tf.Tensor, class_logits: tf.Tensor, box_offsets: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Computes the outputs that the class describes."""
        outputs = {"proposals": proposals, "class_logits": class_logits, "box_offsets": box_offsets}
        outputs = {role: tf.stop_gradient(values) for role, values in outputs.items()}
        results = detections(outputs, self.postproc, *self.image_size)
        return results["boxes"], results["scores"], results["classes"]

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "postproc": self.postproc.model_dump(exclude_defaults=True),
            "image_size": self.image_size,
        }
