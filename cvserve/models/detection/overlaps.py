"""Computes overlaps of boxes, as TensorFlow operations for losses and matching."""

from __future__ import annotations

import math

import tensorflow as tf

_SMALL = 1e-7


def pairwise_iou(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Returns the intersection over union of every box with every other.

    Args:
        first: float32 [..., N, 4], second: float32 [..., M, 4] as x1, y1, x2, y2.

    Returns:
        float32 [..., N, M], 0 where both boxes are empty.
    """
    top_left = tf.maximum(first[..., :, None, :2], second[..., None, :, :2])
    bottom_right = tf.minimum(first[..., :, None, 2:], second[..., None, :, 2:])
    size = tf.maximum(bottom_right - top_left, 0.0)
    shared = size[..., 0] * size[..., 1]
    union = areas(first)[..., :, None] + areas(second)[..., None, :] - shared
    return shared / tf.maximum(union, _SMALL)


def areas(boxes: tf.Tensor) -> tf.Tensor:
    """Returns areas in pixels [...] of boxes float32 [..., 4]; 0 where x2 < x1 or y2 < y1."""
    size = tf.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    return size[..., 0] * size[..., 1]


def complete_iou(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Returns CIoU (Zheng et al. 2020, 1911.08287): IoU minus penalties for distance of centres and for shape.

    Args:
        first, second: float32 [..., 4] as x1, y1, x2, y2; boxes are compared one to one.

    Returns:
        float32 [...], at most 1. The weight of the shape's part carries no gradient, as in the paper.
    """
    top_left = tf.maximum(first[..., :2], second[..., :2])
    bottom_right = tf.minimum(first[..., 2:], second[..., 2:])
    size = tf.maximum(bottom_right - top_left, 0.0)
    shared = size[..., 0] * size[..., 1]
    iou = shared / tf.maximum(areas(first) + areas(second) - shared, _SMALL)

    around = tf.maximum(first[..., 2:], second[..., 2:]) - tf.minimum(first[..., :2], second[..., :2])
    diagonal = tf.reduce_sum(tf.square(around), axis=-1)
    center_distance = (first[..., :2] + first[..., 2:] - second[..., :2] - second[..., 2:]) / 2
    distance = tf.reduce_sum(tf.square(center_distance), axis=-1) / tf.maximum(diagonal, _SMALL)

    first_size = tf.maximum(first[..., 2:] - first[..., :2], _SMALL)
    second_size = tf.maximum(second[..., 2:] - second[..., :2], _SMALL)
    angle = tf.atan(second_size[..., 0] / second_size[..., 1]) - tf.atan(first_size[..., 0] / first_size[..., 1])
    shape = 4 / math.pi**2 * tf.square(angle)
    weight = tf.stop_gradient(shape / tf.maximum(1.0 - iou + shape, _SMALL))
    return iou - distance - weight * shape
