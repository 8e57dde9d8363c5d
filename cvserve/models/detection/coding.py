"""Encodes boxes relative to reference boxes, and decodes them, as TensorFlow operations.

The formula is that of `BoxCoding` kind "deltas"; `cvserve.postproc.boxes.decode_deltas` computes it in numpy.
"""

from __future__ import annotations

import tensorflow as tf

from cvserve.postproc.boxes.coding import MOST_LOG_SCALE

Variances = tuple[float, float, float, float]
NO_VARIANCES: Variances = (1.0, 1.0, 1.0, 1.0)
_LEAST_SIDE = 1e-3
"""Least side in pixels. Only padding is smaller: it is never learned, but its logarithm must be a number."""


def encode_deltas(boxes: tf.Tensor, reference: tf.Tensor, variances: Variances = NO_VARIANCES) -> tf.Tensor:
    """Encodes boxes relative to reference boxes (Girshick et al. 2014, appendix C).

    Args:
        boxes, reference: float32 [..., 4] x1, y1, x2, y2, shapes that broadcast.

    Returns:
        float32 [..., 4]: (x - cx) / w / variances[0], and so for y; log(width / w) / variances[2], and so for h.
    """
    size = tf.maximum(reference[..., 2:] - reference[..., :2], _LEAST_SIDE)
    wanted = tf.maximum(boxes[..., 2:] - boxes[..., :2], _LEAST_SIDE)
    center_distance = (boxes[..., :2] + boxes[..., 2:] - reference[..., :2] - reference[..., 2:]) / 2
    return tf.concat([center_distance / size, tf.math.log(wanted / size)], axis=-1) / tf.constant(variances, tf.float32)


def decode_deltas(offsets: tf.Tensor, reference: tf.Tensor, variances: Variances = NO_VARIANCES) -> tf.Tensor:
    """Inverts `encode_deltas`: float32 [..., 4] x1, y1, x2, y2, not clipped to the image."""
    size = reference[..., 2:] - reference[..., :2]
    scaled = offsets * tf.constant(variances, tf.float32)
    centers = reference[..., :2] + size / 2 + scaled[..., :2] * size
    half = size * tf.exp(tf.minimum(scaled[..., 2:], MOST_LOG_SCALE)) / 2
    return tf.concat([centers - half, centers + half], axis=-1)
