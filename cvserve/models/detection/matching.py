"""Assigns objects to anchors (or proposals) by their overlap."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from cvserve.models.detection.overlaps import pairwise_iou

BACKGROUND = -1
IGNORED = -2


@dataclass(frozen=True)
class Matches:
    """Holds what each anchor of a batch learns.

    labels: int32 [B, A]; the object's class, BACKGROUND, or IGNORED where it is neither near enough nor far enough.
    boxes: float32 [B, A, 4]; the object's box where labels >= 0, of no meaning elsewhere. objects: int32 [B, A]; which
    of the M objects, of no meaning where labels < 0.
    """

    labels: tf.Tensor
    boxes: tf.Tensor
    objects: tf.Tensor

    @property
    def positive(self) -> tf.Tensor:
        """Returns which anchors learn an object: bool [B, A]."""
        return self.labels >= 0

    @property
    def background(self) -> tf.Tensor:
        """Returns which anchors learn background: bool [B, A]."""
        return tf.equal(self.labels, BACKGROUND)


def match_anchors(
    anchors: tf.Tensor,
    boxes: tf.Tensor,
    labels: tf.Tensor,
    *,
    high: float,
    low: float,
    force_best: bool,
) -> Matches:
    """Gives each anchor the object that it overlaps most.

    Args:
        anchors: float32 [A, 4], or [B, A, 4] of each image's own, x1, y1, x2, y2.
        boxes: float32 [B, M, 4]. labels: int32 [B, M], -1 for padding. M may be 0.
        high: IoU from which on the anchor learns the object. low: IoU below which it learns background; between the
            two it is ignored.
        force_best: an object's best anchor learns it, however little they overlap, as long as they do; an anchor that
            is the best of several objects learns the one that it overlaps most.
    """
    anchors, boxes = tf.convert_to_tensor(anchors), tf.convert_to_tensor(boxes)
    if anchors.shape.rank == 2:
        anchors = anchors[tf.newaxis]
    # One more object, which is padding, so that no tensor below is empty if a batch has no objects.
    boxes = tf.pad(boxes, [[0, 0], [0, 1], [0, 0]])
    labels = tf.pad(labels, [[0, 0], [0, 1]], constant_values=-1)
    known = labels[:, tf.newaxis, :] >= 0
    overlap = tf.where(known, pairwise_iou(anchors, boxes), -1.0)

    owner = tf.argmax(overlap, axis=2, output_type=tf.int32)
    most = tf.reduce_max(overlap, axis=2)
    learns = most >= high
    if force_best:
        # [B, A, M]: the anchor is the best of the object.
        best = tf.one_hot(tf.argmax(overlap, axis=1), tf.shape(overlap)[1], axis=1, on_value=True, off_value=False)
        forced = tf.where(best & (overlap > 0), overlap, -1.0)
        is_forced = tf.reduce_max(forced, axis=2) > 0
        owner = tf.where(is_forced, tf.argmax(forced, axis=2, output_type=tf.int32), owner)
        learns |= is_forced
    other = tf.where(most < low, BACKGROUND, IGNORED)
    return Matches(
        tf.where(learns, tf.gather(labels, owner, batch_dims=1), other), tf.gather(boxes, owner, batch_dims=1), owner
    )
