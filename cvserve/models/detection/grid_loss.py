"""Computes the loss of YOLOv1 (Redmon et al. 2015, arXiv 1506.02640, equation 3): sums of squares over a grid."""

from __future__ import annotations

import tensorflow as tf

from cvserve.models.detection.overlaps import areas, pairwise_iou

# Section 2.2: boxes count much, the many cells without objects little.
BOX_GAIN, EMPTY_GAIN = 5.0, 0.5
_SMALL = 1e-9


def grid_loss(
    box_offsets: tf.Tensor,
    class_logits: tf.Tensor,
    objectness: tf.Tensor,
    boxes: tf.Tensor,
    labels: tf.Tensor,
    *,
    grid: int,
    boxes_per_cell: int,
    height: int,
    width: int,
) -> dict[str, tf.Tensor]:
    """Returns the parts of the loss: sums over each image, means over the batch.

    The cell that holds an object's centre learns it; of several objects, the one of greatest area. Of the
    cell's boxes, the one that overlaps it most is responsible, or where none does, the one whose numbers are nearest.

    Args:
        box_offsets: float32 [B, A, 4] (tx, ty, tw, th) of `BoxCoding` kind "grid", A = grid ** 2 * boxes_per_cell.
        class_logits: float32 [B, A, C], alike for all boxes of a cell. objectness: float32 [B, A], logits.
        boxes: float32 [B, M, 4], pixels. labels: int32 [B, M], -1 for padding.
        height, width: of the images, pixels.

    Returns:
        {"box", "object", "empty", "class"}.
    """
    cells, batch = grid * grid, tf.shape(box_offsets)[0]
    is_object, owner = _owners(boxes, labels, grid, height, width)
    ground_truth = tf.gather(tf.pad(boxes, [[0, 0], [0, 1], [0, 0]]), owner, batch_dims=1)
    classes = tf.gather(tf.pad(labels, [[0, 0], [0, 1]], constant_values=-1), owner, batch_dims=1)

    offsets = tf.reshape(box_offsets, [batch, cells, boxes_per_cell, 4])
    corners = _corners(grid)
    wanted = _encode(ground_truth, corners, grid, height, width)[:, :, tf.newaxis, :]
    predicted = _decode(offsets, corners[:, tf.newaxis, :], grid, height, width)
    overlap = tf.stop_gradient(pairwise_iou(predicted, ground_truth[:, :, tf.newaxis, :])[..., 0])
    errors = tf.reduce_sum(tf.square(offsets - wanted), axis=-1)
    rank = tf.where(tf.reduce_max(overlap, axis=-1, keepdims=True) > 0, overlap, -tf.stop_gradient(errors))
    best = tf.one_hot(tf.argmax(rank, axis=-1), boxes_per_cell, on_value=True, off_value=False)
    responsible = best & is_object[..., tf.newaxis]

    confidence = tf.sigmoid(tf.reshape(objectness, [batch, cells, boxes_per_cell]))
    probabilities = tf.sigmoid(tf.reshape(class_logits, [batch, cells, boxes_per_cell, -1])[:, :, 0])
    missed = tf.reduce_sum(tf.square(probabilities - tf.one_hot(classes, tf.shape(probabilities)[-1])), axis=-1)

    def total(values: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.where(chosen, values, 0.0)) / tf.cast(tf.maximum(batch, 1), tf.float32)

    return {
        "box": BOX_GAIN * total(errors, responsible),
        "object": total(tf.square(confidence - overlap), responsible),
        "empty": EMPTY_GAIN * total(tf.square(confidence), tf.logical_not(responsible)),
        "class": total(missed, is_object),
    }


def _owners(boxes: tf.Tensor, labels: tf.Tensor, grid: int, height: int, width: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns bool [B, cells], whether an object's centre lies in the cell, and int32 [B, cells], which; M if none."""
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2 * tf.constant([grid / width, grid / height], tf.float32)
    place = tf.clip_by_value(tf.cast(tf.floor(middle), tf.int32), 0, grid - 1)
    cell = place[..., 1] * grid + place[..., 0]
    here = tf.one_hot(cell, grid * grid, axis=1, on_value=True, off_value=False) & (labels >= 0)[:, tf.newaxis, :]
    # One more column for "none", so that no tensor is empty if a batch has no objects.
    size = tf.where(here, areas(boxes)[:, tf.newaxis, :] + _SMALL, 0.0)
    size = tf.concat([size, tf.fill([tf.shape(size)[0], grid * grid, 1], _SMALL / 2)], axis=2)
    owner = tf.argmax(size, axis=2, output_type=tf.int32)
    return owner < tf.shape(boxes)[1], owner


def _corners(grid: int) -> tf.Tensor:
    """Returns float32 [cells, 2]: x and y of the cells' top left corners, in cells."""
    x, y = tf.meshgrid(tf.range(grid), tf.range(grid))
    return tf.cast(tf.reshape(tf.stack([x, y], axis=-1), [-1, 2]), tf.float32)


def _encode(boxes: tf.Tensor, corners: tf.Tensor, grid: int, height: int, width: int) -> tf.Tensor:
    """Encodes boxes [B, cells, 4] for their cells; the numbers of cells without an object mean nothing."""
    image = tf.constant([width, height], tf.float32)
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2 / image * grid - corners
    size = tf.maximum(boxes[..., 2:] - boxes[..., :2], 0.0) / image
    return tf.concat([middle, tf.sqrt(size)], axis=-1)


def _decode(offsets: tf.Tensor, corners: tf.Tensor, grid: int, height: int, width: int) -> tf.Tensor:
    """Decodes as `BoxCoding` kind "grid" does: float32 [..., 4] x1, y1, x2, y2 in pixels."""
    image = tf.constant([width, height], tf.float32)
    middle = (corners + offsets[..., :2]) / grid * image
    half = tf.square(offsets[..., 2:]) * image / 2
    return tf.concat([middle - half, middle + half], axis=-1)
