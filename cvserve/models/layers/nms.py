"""Suppresses boxes without control flow: the same graph in TensorFlow, ONNX and TFLite, at any batch size.

Greedy suppression, box after box, is a loop, and loops are what the formats disagree on. The same answer is the fixed
point of "a box stays if no better box that stays overlaps it": every pass over the matrix of overlaps settles one more
link of the longest chain of boxes that suppress each other, and a chain ends where boxes no longer overlap. A fixed
number of passes, written out one after the other, is exact for all chains that are shorter; real ones are (see
`PASSES`).
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

PASSES = 16
"""Number of passes. Dense random boxes (300 or 1000 of them in a square of 60 to 640 pixels, sides of 20 to 80, IoU
thresholds 0.3 to 0.7) needed 2 to 12. The number is even, so that a longer chain leaves one box too many and loses no
object."""

PADDING = -1e30
"""Scores below are padding (-inf, which int8 cannot hold, or the lowest number of a dtype)."""


def top_k_nms(
    boxes: tf.Tensor,
    scores: tf.Tensor,
    iou_threshold: float,
    classes: tf.Tensor | None = None,
    *,
    passes: int = PASSES,
) -> tf.Tensor:
    """Returns which of the boxes, best first, greedy suppression keeps.

    Args:
        boxes: float32 [B, K, 4] x1, y1, x2, y2, best first; B may be unknown, K may not.
        scores: float32 [B, K], descending, logits or probabilities. Boxes of a score below `PADDING`, and boxes without
            area, are padding: they are not kept and suppress nothing.
        iou_threshold: of two boxes that overlap by more, the better stays.
        classes: int32 [B, K]; boxes of different classes do not suppress each other.
        passes: how many links of a chain are settled, see `PASSES`; K - 1 is always exact.

    Returns:
        bool [B, K].

    Raises:
        ValueError: K is unknown.
    """
    size = boxes.shape[1]
    if size is None:
        raise ValueError("top_k_nms needs a known number of boxes; take the best K first")
    suppresses = _overlaps(boxes, iou_threshold)
    if classes is not None:
        same = tf.equal(classes[:, :, tf.newaxis], classes[:, tf.newaxis, :])
        suppresses = tf.logical_and(suppresses, same)
    # [j, i]: the better box i suppresses box j. Numbers, since matrix products are what every runtime does fast.
    better = np.tril(np.ones((1, size, size), np.float32), -1)
    matrix = tf.cast(suppresses, tf.float32) * better
    has_area = tf.logical_and(boxes[:, :, 2] > boxes[:, :, 0], boxes[:, :, 3] > boxes[:, :, 1])
    candidates = tf.cast(tf.logical_and(has_area, scores > PADDING), tf.float32)[:, :, tf.newaxis]
    keep = candidates
    for _ in range(min(passes, max(size - 1, 0))):
        keep = candidates * tf.cast(tf.matmul(matrix, keep) < 0.5, tf.float32)
    return keep[:, :, 0] > 0.5


def _overlaps(boxes: tf.Tensor, iou_threshold: float) -> tf.Tensor:
    """Returns bool [B, K, K]: whether the overlap (IoU) of two boxes exceeds the threshold; False for empty boxes."""
    left, top, right, bottom = (boxes[:, :, side] for side in range(4))
    width = tf.minimum(right[:, :, None], right[:, None, :]) - tf.maximum(left[:, :, None], left[:, None, :])
    height = tf.minimum(bottom[:, :, None], bottom[:, None, :]) - tf.maximum(top[:, :, None], top[:, None, :])
    intersection = tf.nn.relu(width) * tf.nn.relu(height)
    areas = tf.nn.relu(right - left) * tf.nn.relu(bottom - top)
    union = areas[:, :, None] + areas[:, None, :] - intersection
    return intersection > iou_threshold * union
