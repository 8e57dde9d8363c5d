"""Chooses the cells that learn each object, by the task-aligned assigner (Feng et al. 2021, arXiv 2108.07755)."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from cvserve.models.detection.overlaps import pairwise_iou

# The values of YOLOv8: the number of cells of an object, and the powers of score and overlap in its alignment.
TOP_CELLS = 10
SCORE_POWER = 0.5
OVERLAP_POWER = 6.0
_SMALL = 1e-9


@dataclass(frozen=True)
class Assignment:
    """Holds what every cell of a batch learns.

    boxes: float32 [B, A, 4]. labels: int32 [B, A]. quality: float32 [B, A], the score that the cell's class should
    reach; 0 if the cell is background.
    """

    boxes: tf.Tensor
    labels: tf.Tensor
    quality: tf.Tensor


def assign(
    scores: tf.Tensor, predicted: tf.Tensor, centers: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor
) -> Assignment:
    """Gives each object the `TOP_CELLS` cells inside it whose score and box fit it best.

    A cell that two objects want goes to the one that its box overlaps more.

    Args:
        scores: float32 [B, A, C], 0 to 1. predicted: float32 [B, A, 4] x1, y1, x2, y2 in pixels.
        centres: float32 [A, 2] of the cells, in pixels.
        boxes: float32 [B, M, 4]. labels: int32 [B, M], -1 for padding.
    """
    cells = tf.shape(predicted)[1]
    # One more object, which is padding, so that no tensor below is empty if a batch has no objects.
    boxes = tf.pad(boxes, [[0, 0], [0, 1], [0, 0]])
    labels = tf.pad(labels, [[0, 0], [0, 1]], constant_values=-1)
    known = labels >= 0
    overlap = pairwise_iou(boxes, predicted)
    score = tf.gather(tf.transpose(scores, [0, 2, 1]), tf.maximum(labels, 0), batch_dims=1)
    sides = tf.concat([centers - boxes[:, :, None, :2], boxes[:, :, None, 2:] - centers], axis=-1)
    inside = (tf.reduce_min(sides, axis=-1) > 0) & known[..., None]
    alignment = tf.where(inside, tf.pow(score, SCORE_POWER) * tf.pow(overlap, OVERLAP_POWER), 0.0)
    # A tiny bonus for cells near the centre: where no box overlaps yet, at the start, the nearest are taken.
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2
    distance = tf.reduce_sum(tf.abs(centers - middle[:, :, None, :]), axis=-1)
    rank = tf.where(inside, alignment + _SMALL / (1.0 + distance), -1.0)
    best = tf.math.top_k(rank, k=tf.minimum(TOP_CELLS, cells))
    chosen = tf.reduce_sum(tf.one_hot(best.indices, cells), axis=2) > 0
    chosen &= inside

    # Of the objects that want a cell, the one with the greatest overlap has it.
    wanted = tf.where(chosen, overlap + _SMALL, 0.0)
    owner = tf.argmax(wanted, axis=1, output_type=tf.int32)
    taken = tf.reduce_max(wanted, axis=1) > 0
    owned = tf.transpose(tf.one_hot(owner, tf.shape(boxes)[1], on_value=True, off_value=False), [0, 2, 1])
    owned &= chosen

    # The best cell of an object should reach the score of its overlap, the others in proportion.
    alignment = tf.where(owned, alignment, 0.0)
    best_alignment = tf.reduce_max(alignment, axis=2, keepdims=True)
    best_overlap = tf.reduce_max(tf.where(owned, overlap, 0.0), axis=2, keepdims=True)
    quality = tf.reduce_max(alignment / (best_alignment + _SMALL) * best_overlap, axis=1)
    return Assignment(
        tf.gather(boxes, owner, batch_dims=1),
        tf.where(taken, tf.gather(labels, owner, batch_dims=1), -1),
        tf.where(taken, quality, 0.0),
    )
