"""Cuts regions of feature maps into small maps of one size (RoIAlign, He et al. 2017, arXiv 1703.06870, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cvserve.models.layers.roi_levels import level_masks


@keras.saving.register_keras_serializable(package="cvserve")
class RoIAlign(keras.layers.Layer):
    """Cuts each region into size[0] x size[1] bins and averages the map at some points of each bin.

    The points of a bin are `sampling` x `sampling`, evenly spread, and the map between its pixels is bilinear; pixel i
    of a map lies at i + 0.5 (`aligned=True` of Detectron2 and torchvision). Its border is repeated
    for half a cell; further out there is nothing, 0.

    Regions are parallel to the axes, so weights of rows and of columns are enough: two matrix products, without a
    gather or a loop, which TensorFlow, ONNX and TFLite do alike for any number of images.

    Args:
        size: (rows, columns) of what comes out.
        image_size: (height, width) of the pixels that boxes are given in; maps cover all of it.
        sampling: points of a bin in each direction.

    Call arguments:
        maps: [B, h, w, C], or a list of them, finest first: each region is cut from one (see `level_masks`).
        boxes: float32 [B, P, 4] x1, y1, x2, y2; they get no gradient, as in Faster R-CNN.

    Returns:
        [B, P, rows, columns, C], of the dtype of the maps.
    """

    def __init__(self, size: Sequence[int], image_size: Sequence[int], sampling: int = 2, **kwargs: Any) -> None:
        # Boxes in half precision would be pixels off.
        super().__init__(autocast=False, **kwargs)
        self.size = tuple(size)
        self.image_size = tuple(image_size)
        self.sampling = sampling

    def call(self, maps: Any, boxes: tf.Tensor) -> tf.Tensor:
        """Computes the outputs that the class describes."""
        maps = list(maps) if isinstance(maps, list | tuple) else [maps]
        boxes = tf.stop_gradient(tf.cast(boxes, tf.float32))
        masks = level_masks(maps, boxes, self.image_size[0])
        parts = [self._cut(features, boxes, mask) for features, mask in zip(maps, masks, strict=True)]
        return tf.add_n(parts) if len(parts) > 1 else parts[0]

    def _cut(self, features: tf.Tensor, boxes: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        (rows, columns), regions = self.size, boxes.shape[1]
        height, width, channels = features.shape[1:]
        down = height / self.image_size[0]
        across = width / self.image_size[1]
        of_rows = line_weights(boxes[..., 1] * down, boxes[..., 3] * down, rows, height, self.sampling)
        of_columns = line_weights(boxes[..., 0] * across, boxes[..., 2] * across, columns, width, self.sampling)
        of_rows = tf.cast(of_rows * tf.cast(mask, tf.float32)[..., None, None], features.dtype)
        of_columns = tf.cast(of_columns, features.dtype)
        flat = tf.reshape(features, [-1, height, width * channels])
        lines = tf.matmul(tf.reshape(of_rows, [-1, regions * rows, height]), flat)
        # Rank 4 with one dimension that repeats, the form that every runtime knows, instead of an einsum.
        lines = tf.reshape(lines, [-1, rows, width, channels])
        cut = tf.matmul(tf.reshape(of_columns, [-1, 1, columns, width]), lines)
        return tf.reshape(cut, [-1, regions, rows, columns, channels])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "size": self.size,
            "image_size": self.image_size,
            "sampling": self.sampling,
        }


def line_weights(start: tf.Tensor, end: tf.Tensor, bins: int, length: int, sampling: int) -> tf.Tensor:
    """Returns the weight of each pixel of a line in each bin of start..end, float32 [...] in pixels of the line.

    Args:
        length: pixels of the line. sampling: points of a bin.

    Returns:
        float32 [..., bins, length].
    """
    total: tf.Tensor = 0.0
    pixels = np.arange(length, dtype=np.float32)
    for sample in range(sampling):
        share = (np.arange(bins) + (sample + 0.5) / sampling) / bins
        points = start[..., None] + (end - start)[..., None] * share.astype(np.float32) - 0.5
        inside = tf.logical_and(points >= -1.0, points <= float(length))
        clipped = tf.clip_by_value(points, 0.0, float(length - 1))
        weights = tf.nn.relu(1.0 - tf.abs(clipped[..., None] - pixels))
        total += weights * tf.cast(inside, tf.float32)[..., None]
    return total / float(sampling)
