"""Computes the losses of semantic segmentation, on logits; pixels without a label do not count.

Each takes logits float32 [B, H, W, C] and labels uint8 [B, H, W], 0 to C - 1 or `VOID`, and gives a float32 scalar, 0
where there is no labelled pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

VOID = 255
"""The label of pixels that have none, see `cvserve.data.masks`."""


def pixel_cross_entropy(
    logits: tf.Tensor, labels: tf.Tensor, class_weights: Sequence[float] | None = None, smoothing: float = 0.0
) -> tf.Tensor:
    """Returns the mean cross-entropy of the pixels, each weighted by its class: sum(w * loss) / sum(w).

    Args:
        class_weights: C numbers; None weighs all classes alike.
        smoothing: share of the uniform distribution in the targets, 0 to 1.
    """
    classes, counted = _targets(labels)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
    if smoothing:
        of_uniform = tf.reduce_logsumexp(logits, axis=-1) - tf.reduce_mean(logits, axis=-1)
        losses = (1.0 - smoothing) * losses + smoothing * of_uniform
    return _weighted_mean(losses, _pixel_weights(classes, counted, class_weights))


def focal(
    logits: tf.Tensor, labels: tf.Tensor, gamma: float = 2.0, class_weights: Sequence[float] | None = None
) -> tf.Tensor:
    """Returns the mean of (1 - p) ** gamma * cross-entropy, p being the probability of the true class: pixels that are
    right already count little (Lin et al. 2017, arXiv 1708.02002, equation 4, with softmax)."""
    classes, counted = _targets(labels)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
    wrong = 1.0 - tf.exp(-losses)
    # A power of 0 has no gradient where the base is rounded to 0.
    losses *= tf.maximum(wrong, 1e-7) ** gamma
    return _weighted_mean(losses, _pixel_weights(classes, counted, class_weights))


def dice(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns the mean of 1 - 2 |P T| / (|P| + |T|) over the classes that the batch has, with probabilities for P.

    Every class counts alike, however small its area (Milletari et al. 2016, arXiv 1606.04797, without their squares).
    """
    probabilities, ground_truth = _flat(logits, labels)
    shared = tf.reduce_sum(probabilities * ground_truth, axis=0)
    areas = tf.reduce_sum(probabilities, axis=0) + tf.reduce_sum(ground_truth, axis=0)
    return _mean_of_present(1.0 - 2.0 * shared / tf.maximum(areas, 1e-7), ground_truth)


def lovasz_softmax(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns a convex surrogate of 1 - IoU, the mean over the classes that the batch has (arXiv 1705.08790).

    The errors of each class are sorted, which takes longer than a light network does.
    """
    probabilities, ground_truth = _flat(logits, labels)
    errors = tf.transpose(tf.abs(ground_truth - probabilities))
    order = tf.stop_gradient(tf.argsort(errors, axis=1, direction="DESCENDING"))
    is_class = tf.gather(tf.transpose(ground_truth), order, batch_dims=1)
    total = tf.reduce_sum(is_class, axis=1, keepdims=True)
    left = total - tf.cumsum(is_class, axis=1)
    union = total + tf.cumsum(1.0 - is_class, axis=1)
    jaccard = 1.0 - left / tf.maximum(union, 1.0)
    # What each error adds to the Jaccard loss when all greater ones are there already.
    steps = jaccard - tf.pad(jaccard, [[0, 0], [1, 0]])[:, :-1]
    losses = tf.reduce_sum(tf.gather(errors, order, batch_dims=1) * tf.stop_gradient(steps), axis=1)
    return _mean_of_present(losses, ground_truth)


def combined(
    logits: tf.Tensor,
    labels: tf.Tensor,
    losses: Mapping[str, float],
    *,
    class_weights: Sequence[float] | None = None,
    focal_gamma: float = 2.0,
    smoothing: float = 0.0,
) -> dict[str, tf.Tensor]:
    """Returns losses by name, each times its weight.

    Args:
        losses: "cross_entropy", "focal", "dice" or "lovasz" to weight.
        class_weights: of cross-entropy and focal loss. smoothing: of cross-entropy.
    """
    known: dict[str, Callable[[], tf.Tensor]] = {
        "cross_entropy": lambda: pixel_cross_entropy(logits, labels, class_weights, smoothing),
        "focal": lambda: focal(logits, labels, focal_gamma, class_weights),
        "dice": lambda: dice(logits, labels),
        "lovasz": lambda: lovasz_softmax(logits, labels),
    }
    return {name: weight * known[name]() for name, weight in losses.items()}


def _targets(labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns int32 classes, 0 for void, and a bool of which pixels count."""
    counted = tf.not_equal(labels, VOID)
    return tf.where(counted, tf.cast(labels, tf.int32), 0), counted


def _pixel_weights(classes: tf.Tensor, counted: tf.Tensor, class_weights: Sequence[float] | None) -> tf.Tensor:
    weights = tf.cast(counted, tf.float32)
    if class_weights is None:
        return weights
    return weights * tf.gather(tf.constant(class_weights, tf.float32), classes)


def _weighted_mean(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    return tf.math.divide_no_nan(tf.reduce_sum(values * weights), tf.reduce_sum(weights))


def _flat(logits: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns probabilities and one-hot labels of all pixels, float32 [N, C] each; rows of zeros for void."""
    count = logits.shape[-1]
    classes, counted = _targets(labels)
    weights = tf.cast(tf.reshape(counted, [-1, 1]), tf.float32)
    ground_truth = tf.one_hot(tf.reshape(classes, [-1]), count)
    return tf.nn.softmax(tf.reshape(logits, [-1, count])) * weights, ground_truth * weights


def _mean_of_present(values: tf.Tensor, ground_truth: tf.Tensor) -> tf.Tensor:
    present = tf.cast(tf.reduce_sum(ground_truth, axis=0) > 0.0, tf.float32)
    return _weighted_mean(values, present)
