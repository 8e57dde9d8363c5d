"""Draws the anchors and proposals that a two-stage detector learns from in one step: a fixed number.

Draws come from a seed that the caller takes from the network's own answers (`seed_from`): they differ from step to
step, and a training that is resumed draws what an uninterrupted one would have drawn, without any state to keep.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from cvserve.models.detection.matching import Matches, match_anchors


@dataclass(frozen=True)
class Sample:
    """Holds S regions of each image and what they learn.

    proposals: float32 [B, S, 4] x1, y1, x2, y2. labels: int32 [B, S], the class, or -1 for background.
    boxes: float32 [B, S, 4], of the object where labels >= 0. objects: int32 [B, S], which of the M objects of the
    image, of no meaning where labels < 0. used: bool [B, S], False where an image had too few regions.
    """

    proposals: tf.Tensor
    labels: tf.Tensor
    boxes: tf.Tensor
    objects: tf.Tensor
    used: tf.Tensor

    @property
    def positive(self) -> tf.Tensor:
        """Returns which regions learn an object: bool [B, S]."""
        return tf.logical_and(self.used, self.labels >= 0)


def seed_from(values: tf.Tensor) -> tf.Tensor:
    """Returns int32 [2], a seed for stateless draws that changes with the values, float32 of any shape."""
    total = tf.stop_gradient(tf.reduce_sum(tf.cast(values, tf.float32)))
    return tf.stack([tf.bitcast(total, tf.int32), tf.size(values)])


def sample_anchors(matches: Matches, count: int, positive_share: float, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Chooses anchors: at most count * positive_share positive ones, and background for the rest of the count.

    Args:
        matches: of [B, A] anchors. seed: int32 [2].

    Returns:
        Two bool [B, A]: the positive ones and the background ones that were chosen.
    """
    most = round(count * positive_share)
    draws = tf.random.stateless_uniform(tf.shape(matches.labels), seed)
    positive = _draw(matches.positive, draws, most, tf.fill([tf.shape(draws)[0]], most))
    positives = tf.reduce_sum(tf.cast(positive, tf.int32), axis=1)
    return positive, _draw(matches.background, draws, count, count - positives)


def _draw(among: tf.Tensor, draws: tf.Tensor, most: int, wanted: tf.Tensor) -> tf.Tensor:
    """Returns bool [B, A]: of each image `wanted` (int32 [B], at most `most`) of `among`, by the greatest draws.

    One more where two draws are equal.
    """
    keys = tf.where(among, draws, -1.0)
    best = tf.math.top_k(keys, k=tf.minimum(max(most, 1), tf.shape(keys)[1])).values
    last = tf.clip_by_value(wanted - 1, 0, tf.maximum(tf.shape(best)[1] - 1, 0))
    least = tf.gather(best, last, batch_dims=1)
    return among & (keys >= least[:, tf.newaxis]) & (wanted > 0)[:, tf.newaxis]


def sample_proposals(
    proposals: tf.Tensor,
    boxes: tf.Tensor,
    labels: tf.Tensor,
    seed: tf.Tensor,
    *,
    count: int,
    positive_share: float,
    high: float = 0.5,
    low: float = 0.5,
    force_best: bool = False,
) -> Sample:
    """Chooses the regions that the head learns from, the objects' own boxes among the candidates.

    Args:
        proposals: float32 [B, P, 4]; boxes without area are padding. They get no gradient.
        boxes: float32 [B, M, 4]. labels: int32 [B, M], -1 for padding. M may be 0.
        seed: int32 [2].
        count: S, at most P. positive_share: of them at most so many are objects.
        high, low, force_best: of `match_anchors`.
    """
    proposals = tf.stop_gradient(proposals)
    # The objects' own boxes are not matched with the objects, since each would be the best match of its object.
    matches = _with_objects(
        match_anchors(proposals, boxes, labels, high=high, low=low, force_best=force_best), boxes, labels
    )
    candidates = tf.concat([proposals, boxes], axis=1)
    solid = (candidates[..., 2] > candidates[..., 0]) & (candidates[..., 3] > candidates[..., 1])
    # Padding of the objects may hold anything.
    there = tf.concat([tf.ones_like(proposals[..., 0], tf.bool), labels >= 0], axis=1) & solid
    draws = tf.random.stateless_uniform(tf.shape(matches.labels), seed)
    most = round(count * positive_share)
    positive = _draw(matches.positive & there, draws, most, tf.fill([tf.shape(draws)[0]], most))
    # Objects first, then background; what is left has no part in this step.
    order = tf.where(positive, 2.0 + draws, tf.where(matches.background & there, 1.0 + draws, -1.0))
    best = tf.math.top_k(order, k=count)

    def chosen(values: tf.Tensor) -> tf.Tensor:
        return tf.gather(values, best.indices, batch_dims=1)

    return Sample(
        proposals=chosen(candidates),
        labels=chosen(matches.labels),
        boxes=chosen(matches.boxes),
        objects=chosen(matches.objects),
        used=best.values >= 0,
    )


def _with_objects(matches: Matches, boxes: tf.Tensor, labels: tf.Tensor) -> Matches:
    """Returns what P proposals learn, followed by the objects themselves, each of which learns itself."""
    own = tf.zeros_like(labels) + tf.range(tf.shape(labels)[1])
    return Matches(
        tf.concat([matches.labels, labels], axis=1),
        tf.concat([matches.boxes, boxes], axis=1),
        tf.concat([matches.objects, own], axis=1),
    )
