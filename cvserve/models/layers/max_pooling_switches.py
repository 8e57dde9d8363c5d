"""Implements max pooling that also returns where each maximum was."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="cvserve")
class MaxPoolingWithSwitches(keras.layers.Layer):
    """Returns the maxima of windows that do not overlap, and where they were (Zeiler et al. 2011, "switches").

    Of equal values the first counts, row by row, as in numpy's and TensorFlow's argmax: after a ReLU many windows are
    all zeros. The switches are a map of ones and zeros made by comparisons, because the argmax of
    `tf.nn.max_pool_with_argmax` has no counterpart in TFLite.

    Args:
        size: side of the windows, and their distance.

    Call arguments:
        features: [B, H, W, C]; H and W are multiples of `size`, known when the network is built.

    Returns:
        (pooled [B, H / size, W / size, C], switches [B, H, W, C] of the same dtype: 1 where a maximum was, else 0).
        Switches have no gradient.
    """

    ties_decide = True
    """Marks the layer: if two values are nearly equal, another runtime may find the other one to be larger."""

    def __init__(self, size: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = size

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Creates the weights."""
        height, width = shape[1:3]
        if height is None or width is None or height % self.size or width % self.size:
            raise ValueError(f"windows of {self.size} do not fill a map of {height} x {width}")

    def call(self, features: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes the outputs that the class describes."""
        size, (height, width, channels) = self.size, features.shape[1:]
        pooled = tf.nn.max_pool2d(features, size, size, "VALID")
        maxima = tf.reshape(pooled, [-1, width // size, channels])
        windows = tf.reshape(features, [-1, size, width // size, size * channels])
        rows = []
        is_free = tf.ones_like(maxima, tf.bool)
        for row in range(size):
            columns = []
            for column in range(size):
                values = windows[:, row, :, column * channels : (column + 1) * channels]
                is_first = tf.logical_and(is_free, tf.equal(values, maxima))
                is_free = tf.logical_and(is_free, tf.logical_not(is_first))
                columns.append(tf.cast(is_first, features.dtype))
            rows.append(tf.concat(columns, axis=-1))
        switches = tf.reshape(tf.stack(rows, axis=1), [-1, height, width, channels])
        return pooled, tf.stop_gradient(switches)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "size": self.size}
