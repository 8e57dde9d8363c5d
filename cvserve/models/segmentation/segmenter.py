"""Builds the outputs and the loss that all semantic segmentation networks share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
from keras import layers, ops

from cvserve.models.registry import Built
from cvserve.models.segmentation.losses import combined

LOGITS = "logits"
"""The layer, float32 [B, H, W, C] at the size of the images, that the network's outputs are made from."""


@dataclass(frozen=True)
class Segmenter(Built):
    """Holds a segmentation network.

    network: uint8 images [B, H, W, 3] to {"class_map": uint8 [B, H, W], "confidence": float32 [B, H, W]}: the best
    class of each pixel, and its probability.
    loss: of images and labels uint8 [B, H, W], with the settings of `combined` by name.
    logits: the same network, images to float32 [B, H, W, C]; it is what is trained.
    """

    logits: keras.Model


def segmenter(images: keras.KerasTensor, logits: keras.KerasTensor, *, name: str) -> Segmenter:
    """Puts the outputs that all networks share behind the class scores.

    Args:
        images: the input. logits: [B, H, W, C] at the size of the images, of any dtype.
    """
    logits = layers.Activation("linear", dtype="float32", name=LOGITS)(logits)
    network = keras.Model(images, ClassMap(name="answers")(logits), name=name)
    to_logits = keras.Model(images, logits, name=f"{name}_logits")

    def loss(
        images: tf.Tensor,
        labels: tf.Tensor,
        *,
        losses: Mapping[str, float] | None = None,
        class_weights: Sequence[float] | None = None,
        focal_gamma: float = 2.0,
        smoothing: float = 0.0,
    ) -> dict[str, tf.Tensor]:
        return combined(
            to_logits(images, training=True),
            labels,
            losses or {"cross_entropy": 1.0},
            class_weights=class_weights,
            focal_gamma=focal_gamma,
            smoothing=smoothing,
        )

    return Segmenter(network, None, loss, to_logits)


@keras.saving.register_keras_serializable(package="cvserve")
class ClassMap(layers.Layer):
    """Returns the best class of each pixel and its probability.

    Call arguments:
        logits: float32 [B, H, W, C], C at most 255.

    Returns:
        {"class_map": uint8 [B, H, W], "confidence": float32 [B, H, W], 0 to 1}.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)

    def call(self, logits: tf.Tensor) -> dict[str, tf.Tensor]:
        """Computes the outputs that the class describes."""
        # tf.argmax, since keras.ops.argmax becomes bit operations that neither ONNX nor TFLite knows.
        best = tf.cast(tf.argmax(logits, axis=-1, output_type=tf.int32), tf.uint8)
        return {"class_map": best, "confidence": ops.max(ops.softmax(logits, axis=-1), axis=-1)}

    def compute_output_spec(self, logits: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
        """Returns the shapes and dtypes of the outputs."""
        return {
            "class_map": keras.KerasTensor(logits.shape[:-1], dtype="uint8"),
            "confidence": keras.KerasTensor(logits.shape[:-1], dtype="float32"),
        }

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        config = super().get_config()
        config.pop("dtype", None)
        return config
