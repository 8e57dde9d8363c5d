"""Builds the region proposal network: regions that may be objects of any class (Ren et al. 2015, arXiv 1506.01497)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from cvserve.artifact import BoxCoding, BoxLevel
from cvserve.models.backbones import Features
from cvserve.models.detection.coding import decode_deltas, encode_deltas
from cvserve.models.detection.heads import joined
from cvserve.models.detection.losses import mean_over, smooth_l1
from cvserve.models.detection.matching import match_anchors
from cvserve.models.detection.sampling import sample_anchors
from cvserve.models.layers.nms import top_k_nms
from cvserve.postproc.boxes import anchors as anchors_of

# Section 3.1.2 and 3.1.3 of the paper: IoU of positives and of background, anchors an image, at most half positive.
HIGH, LOW = 0.7, 0.3
ANCHORS_PER_IMAGE = 256
POSITIVE_SHARE = 0.5
SUPPRESSION = 0.7
BETA = 1 / 9
"""Beta of smooth L1, as in the authors' code (sigma 3)."""
_LEAST_SIDE = 1.0
"""Least side of a proposal in pixels; smaller ones are dropped."""


def proposal_head(maps: Features, anchors: int, channels: int) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Applies a 3x3 convolution and two 1x1 ones, the same for all maps.

    Args:
        maps: stride to map, finest first. anchors: of a cell.

    Returns:
        Objectness logits float32 [B, A] and offsets float32 [B, A, 4], in the order of `BoxCoding`.
    """
    shared = layers.Conv2D(channels, 3, padding="same", kernel_initializer="he_normal", name="rpn_conv")
    relu = layers.ReLU(name="rpn_relu")
    small = keras.initializers.RandomNormal(stddev=0.01)
    logits = layers.Conv2D(anchors, 1, kernel_initializer=small, name="rpn_objectness_conv")
    offsets = layers.Conv2D(anchors * 4, 1, kernel_initializer=small, name="rpn_offsets_conv")
    towers = [relu(shared(features)) for features in maps.values()]
    objectness = joined([logits(tower) for tower in towers], 1, name="rpn_objectness")
    return (
        layers.Reshape((-1,), dtype="float32", name="rpn_logits")(objectness),
        joined([offsets(tower) for tower in towers], 4, name="rpn_offsets"),
    )


@keras.saving.register_keras_serializable(package="cvserve")
class Proposals(keras.layers.Layer):
    """Decodes the best anchors, clips them to the image and suppresses those that overlap a better one.

    Without control flow, so that every format holds it. Proposals get no gradient: the network is trained jointly as
    in the paper's section 3.2, which ignores the derivative of the proposals' coordinates.

    Args:
        levels: the anchors, as `BoxLevel`s or their dicts.
        image_size: (height, width), pixels.
        candidates: anchors with the best scores that take part.
        count: P, of what comes out.
        iou_threshold: of two that overlap more, the better stays.

    Call arguments:
        logits: float32 [B, A]. offsets: float32 [B, A, 4].

    Returns:
        float32 [B, P, 4] x1, y1, x2, y2 in pixels, best first; zeros where there are fewer.
    """

    def __init__(
        self,
        levels: Sequence[BoxLevel | dict[str, Any]],
        image_size: Sequence[int],
        candidates: int,
        count: int,
        iou_threshold: float = SUPPRESSION,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.levels = tuple(BoxLevel.model_validate(level) for level in levels)
        self.image_size = tuple(image_size)
        self.candidates = candidates
        self.count = count
        self.iou_threshold = iou_threshold

    def call(self, logits: tf.Tensor, offsets: tf.Tensor) -> tf.Tensor:
        """Computes the outputs that the class describes."""
        height, width = self.image_size
        anchors = tf.constant(anchors_of(BoxCoding(kind="deltas", levels=self.levels), height, width))
        best = tf.math.top_k(tf.stop_gradient(logits), k=min(self.candidates, anchors.shape[0]))
        boxes = decode_deltas(
            tf.gather(tf.stop_gradient(offsets), best.indices, batch_dims=1), tf.gather(anchors, best.indices)
        )
        boxes = clip_boxes(boxes, height, width)
        sides = boxes[..., 2:] - boxes[..., :2]
        big = tf.cast(tf.reduce_min(sides, axis=-1) >= _LEAST_SIDE, tf.float32)
        # Boxes that lie outside of the image get the score of padding.
        kept = top_k_nms(boxes * big[..., None], tf.sigmoid(best.values) * big, self.iou_threshold)
        size = best.values.shape[1]
        # The kept ones in their order: float32 holds each rank exactly.
        rank = tf.cast(kept, tf.float32) * tf.range(size, 0, -1, dtype=tf.float32)
        first = tf.math.top_k(rank, k=min(self.count, size))
        chosen = tf.gather(boxes, first.indices, batch_dims=1) * tf.cast(first.values > 0, tf.float32)[..., None]
        missing = self.count - min(self.count, size)
        return tf.pad(chosen, [[0, 0], [0, missing], [0, 0]]) if missing else chosen

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "levels": [level.model_dump() for level in self.levels],
            "image_size": self.image_size,
            "candidates": self.candidates,
            "count": self.count,
            "iou_threshold": self.iou_threshold,
        }


def clip_boxes(boxes: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Clips boxes float32 [..., 4] x1, y1, x2, y2 to the image."""
    return tf.stack(
        [
            tf.clip_by_value(boxes[..., side], 0.0, float(limit))
            for side, limit in enumerate((width, height, width, height))
        ],
        axis=-1,
    )


def proposal_loss(
    logits: tf.Tensor, offsets: tf.Tensor, anchors: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Returns cross-entropy of the sampled anchors, smooth L1 of the positive ones (section 3.1.2).

    Anchors across the image's border take part, as in FPN: small images have few others.

    Args:
        logits: float32 [B, A]. offsets: float32 [B, A, 4]. anchors: float32 [A, 4], pixels.
        boxes: float32 [B, M, 4], pixels. labels: int32 [B, M], -1 for padding. seed: int32 [2], of the draws.

    Returns:
        {"rpn_class", "rpn_box"}: both divided by the sampled anchors.
    """
    matches = match_anchors(anchors, boxes, labels, high=HIGH, low=LOW, force_best=True)
    positive, background = sample_anchors(matches, ANCHORS_PER_IMAGE, POSITIVE_SHARE, seed)
    sampled = positive | background
    count = tf.reduce_sum(tf.cast(sampled, tf.float32))
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(positive, tf.float32), logits)
    box_losses = tf.reduce_sum(smooth_l1(offsets, encode_deltas(matches.boxes, anchors), BETA), axis=-1)
    return {"rpn_class": mean_over(entropy, sampled, count), "rpn_box": mean_over(box_losses, positive, count)}
