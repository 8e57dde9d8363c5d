"""Implements nearest-neighbour unpooling: every pixel becomes a square of its copies."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="cvserve")
class NearestUnpooling(keras.layers.Layer):
    """Copies pixels: [[1, 2], [3, 4]] becomes [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]].

    Args:
        factor: how many times larger each side becomes.

    Call arguments:
        features: [B, H, W, C]; H, W and C are known when the network is built.

    Returns:
        [B, factor * H, factor * W, C].
    """

    def __init__(self, factor: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, features: tf.Tensor) -> tf.Tensor:
        """Computes the outputs that the class describes."""
        return copy_pixels(features, self.factor)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "factor": self.factor}


def copy_pixels(features: tf.Tensor, factor: int) -> tf.Tensor:
    """Copies each pixel to a square: [B, H, W, C] to [B, factor * H, factor * W, C]."""
    # Joining is faster than a resize, forward and backward, and all formats know it.
    height, width, channels = features.shape[1:]
    rows = tf.reshape(tf.concat([features] * factor, axis=-1), [-1, 1, width, factor * channels])
    return tf.reshape(tf.concat([rows] * factor, axis=1), [-1, factor * height, factor * width, channels])
