"""Implements bed-of-nails unpooling: every pixel becomes the corner of a square of zeros."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="cvserve")
class BedOfNails(keras.layers.Layer):
    """Puts zeros between pixels: [[1, 2], [3, 4]] becomes [[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]].

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
        height, width, channels = features.shape[1:]
        more = self.factor - 1
        rows = tf.reshape(features, [-1, 1, width, channels])
        nails = tf.pad(rows, [[0, 0], [0, more], [0, 0], [0, more * channels]])
        return tf.reshape(nails, [-1, self.factor * height, self.factor * width, channels])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "factor": self.factor}
