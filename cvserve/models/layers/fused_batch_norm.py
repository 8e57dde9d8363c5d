"""Implements batch normalisation whose training step is one kernel instead of a dozen."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="cvserve")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Normalises as Keras's batch normalisation does, through TensorFlow's fused kernel in training.

    Keras 3 makes mean, variance, scaling and their gradients out of single operations; on a CPU the fused kernel takes
    a quarter of their time, and normalisation is a large part of a light network's step. Inference is Keras's own, and
    so are names and weights. The running variance is that of a sample (n / (n - 1) times that of the batch), as in
    cuDNN and PyTorch.

    Call arguments:
        inputs: float [B, H, W, C]; other ranks, masks and renormalisation take Keras's way.
    """

    def __init__(self, **kwargs: Any) -> None:
        # Scale and offset stay float32 in mixed precision: the kernel takes them so beside bfloat16 pixels.
        super().__init__(autocast=False, **kwargs)

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        """Computes the outputs that the class describes."""
        is_plain = len(inputs.shape) == 4 and self.axis in (3, -1) and self.scale and self.center
        renormalises = getattr(self, "renorm", False)  # unknown to older versions of Keras
        if not (training and self.trainable and mask is None and is_plain) or renormalises:
            return super().call(inputs, training=training, mask=mask)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            tf.cast(inputs, self.compute_dtype),
            tf.convert_to_tensor(self.gamma),
            tf.convert_to_tensor(self.beta),
            epsilon=self.epsilon,
            is_training=True,
        )
        for running, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
            running.assign(running * self.momentum + now * (1.0 - self.momentum))
        return outputs


def fuse_batch_norm(network: keras.Model) -> int:
    """Makes a network train through the fused kernel; its outputs in use do not change.

    The layers stay the same objects with another class. Networks are built with Keras's own, so that the files that are
    kept load wherever Keras is.

    Returns:
        How many layers were changed.
    """
    layers = [layer for layer in network._flatten_layers() if type(layer) is keras.layers.BatchNormalization]
    for layer in layers:
        layer.__class__ = FusedBatchNormalization
        layer.autocast = False
    return len(layers)
