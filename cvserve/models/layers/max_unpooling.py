"""Implements max unpooling: values go back to where the paired pooling found its maxima."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from cvserve.models.layers.nearest_unpooling import copy_pixels


@keras.saving.register_keras_serializable(package="cvserve")
class MaxUnpooling(keras.layers.Layer):
    """Inverts `MaxPoolingWithSwitches`; all other pixels are zero.

    Args:
        size: that of the pooling.

    Call arguments:
        features: [B, h, w, C].
        switches: [B, size * h, size * w, C], of the pooling.

    Returns:
        [B, size * h, size * w, C].
    """

    def __init__(self, size: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = size

    def call(self, features: tf.Tensor, switches: tf.Tensor) -> tf.Tensor:
        """Computes the outputs that the class describes."""
        return copy_pixels(features, self.size) * switches

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "size": self.size}
