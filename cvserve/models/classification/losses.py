"""Losses of classification, on logits."""

from __future__ import annotations

import tensorflow as tf


def smoothed_cross_entropy(logits: tf.Tensor, labels: tf.Tensor, smoothing: float) -> tf.Tensor:
    """Returns the mean cross-entropy of softmax against one-hot labels mixed with the uniform distribution.

    Args:
        logits: float32 [B, C]. labels: int32 [B].
        smoothing: fraction of the uniform distribution, 0 to 1 (Szegedy et al. 2015, arXiv 1512.00567, section 7).

    Returns:
        float32 scalar; at initialisation about log(C).
    """
    classes = tf.shape(logits)[-1]
    targets = tf.one_hot(labels, classes) * (1.0 - smoothing) + smoothing / tf.cast(classes, tf.float32)
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))
