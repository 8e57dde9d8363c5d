"""Computes the losses of captioning, over the tokens that are not padding."""

from __future__ import annotations

import tensorflow as tf

from cvserve.artifact.vocabulary import PAD


def caption_cross_entropy(logits: tf.Tensor, targets: tf.Tensor, smoothing: float = 0.0) -> tf.Tensor:
    """Returns the mean cross-entropy of the tokens that are not <pad>, -log p(y_t | y_1 ... y_{t-1}, image) a token.

    Args:
        logits: float32 [B, N, V]. targets: int32 [B, N].
        smoothing: fraction of the uniform distribution in the targets, 0 to 1 (Szegedy et al. 2015, arXiv 1512.00567).

    Returns:
        float32 scalar; at initialisation about log(V), and 0 where there is nothing but <pad>.
    """
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
    if smoothing:
        uniform = -tf.reduce_mean(tf.nn.log_softmax(logits), axis=-1)
        losses = (1.0 - smoothing) * losses + smoothing * uniform
    there = tf.cast(targets != PAD, tf.float32)
    return tf.math.divide_no_nan(tf.reduce_sum(losses * there), tf.reduce_sum(there))


def attention_penalty(attention: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Returns the mean over images and places of (1 - sum_t alpha_ti)^2 (Xu et al. 2015, 1502.03044, equation 14).

    Args:
        attention: float32 [B, N, L], each [L] summing to 1. targets: int32 [B, N]; steps to <pad> do not count.

    Returns:
        float32 scalar.
    """
    there = tf.cast(targets != PAD, tf.float32)[..., None]
    return tf.reduce_mean(tf.square(1.0 - tf.reduce_sum(attention * there, axis=1)))
