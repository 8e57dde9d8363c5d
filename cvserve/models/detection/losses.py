"""Computes the losses that detectors share: focal, smooth L1, cross-entropy with hard negative mining."""

from __future__ import annotations

import math

import keras
import tensorflow as tf


def sigmoid_focal_loss(logits: tf.Tensor, targets: tf.Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> tf.Tensor:
    """Returns binary cross-entropy with little weight for easy examples (Lin et al. 2017, 1708.02002, equation 5).

    Args:
        logits: float32 [...]. targets: float32, same shape, 0 or 1.
        alpha: weight of the ones; the zeros have 1 - alpha. gamma: how much the easy ones lose; 0 is cross-entropy.

    Returns:
        float32, same shape: -alpha_t (1 - p_t) ** gamma log(p_t).
    """
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
    probability = tf.sigmoid(logits)
    missed = targets * (1.0 - probability) + (1.0 - targets) * probability
    weight = targets * alpha + (1.0 - targets) * (1.0 - alpha)
    return weight * tf.pow(missed, gamma) * entropy


def smooth_l1(predicted: tf.Tensor, wanted: tf.Tensor, beta: float = 1.0) -> tf.Tensor:
    """Returns the smooth L1 loss: quadratic near 0, linear beyond beta (arXiv 1504.08083, equation 3, where beta is 1).

    Returns:
        float32, same shape: 0.5 d ** 2 / beta where abs(d) < beta, otherwise abs(d) - 0.5 beta.
    """
    distance = tf.abs(predicted - wanted)
    return tf.where(distance < beta, 0.5 * tf.square(distance) / beta, distance - 0.5 * beta)


def hardest_negatives(
    losses: tf.Tensor, positive: tf.Tensor, negative: tf.Tensor, *, ratio: float = 3.0, least: int = 0
) -> tf.Tensor:
    """Chooses the negatives of each image with the greatest losses (Liu et al. 2015, 1512.02325, section 2.2).

    Args:
        losses: float32 [B, A], not negative. positive, negative: bool [B, A].
        ratio: negatives for each positive. least: negatives of an image without positives.

    Returns:
        bool [B, A]; of equal losses the first are taken.
    """
    wanted = ratio * tf.reduce_sum(tf.cast(positive, tf.float32), axis=1)
    wanted = tf.cast(tf.maximum(wanted, float(least)), tf.int32)
    order = tf.argsort(tf.where(negative, losses, -1.0), axis=1, direction="DESCENDING", stable=True)
    rank = tf.argsort(order, axis=1)
    return negative & (rank < wanted[:, tf.newaxis])


def mean_over(values: tf.Tensor, chosen: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Returns the sum of the chosen values divided by count, or by 1 if count is less.

    Args:
        values: float32. chosen: bool, the same shape. count: float32 scalar.
    """
    # where, not a product: an infinite value that is not chosen must not become NaN.
    return tf.reduce_sum(tf.where(chosen, values, 0.0)) / tf.maximum(count, 1.0)


def prior_bias(probability: float) -> keras.initializers.Initializer:
    """Returns the bias of a logit that starts at this probability (RetinaNet's section 4.1 takes 0.01).

    Nearly all anchors are background: with a first guess of one half, their loss would hide that of the objects.
    """
    return keras.initializers.Constant(-math.log((1.0 - probability) / probability))
