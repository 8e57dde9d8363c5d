"""Defines the result of a search, and the buffers that its loops write to."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

NEVER = -1e9
"""Log probability of a token that is not allowed: far below any sentence, and finite, so that no sum becomes NaN."""


@dataclass(frozen=True)
class Sentences:
    """Holds K sentences of up to N tokens for each of B images.

    token_ids: int32 [B, K, N], without <start>, with <end> where it fits, then 0. log_probability: float32 [B, K], of
    all tokens of the sentence. attention: float32 [B, K, N, L], 0 behind the end of the sentence; None for decoders
    that do not attend.
    """

    token_ids: tf.Tensor
    log_probability: tf.Tensor
    attention: tf.Tensor | None = None


def write_at(buffer: tf.Tensor, position: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Returns the buffer [R, N, ...] with values [R, ...] at a position. It uses a mask, as every format can."""
    count, rank = buffer.shape[1], buffer.shape.rank
    here = tf.reshape(tf.equal(tf.range(count), position), (1, count, *[1] * (rank - 2)))
    return tf.where(here, tf.expand_dims(values, 1), buffer)


def repeat_rows(values: tf.Tensor, times: int) -> tf.Tensor:
    """Repeats each row of [B, ...]: [B * times, ...]."""
    if times == 1:
        return values
    # Not tf.repeat, whose graph computes shapes in operations that TFLite lacks.
    rank = values.shape.rank
    tiled = tf.tile(tf.expand_dims(values, 1), (1, times, *[1] * (rank - 1)))
    return tf.reshape(tiled, (-1, *values.shape[1:]))


def with_shape_of(values: tf.Tensor, model: tf.Tensor) -> tf.Tensor:
    """Gives the values the static shape of `model`, which variables of a loop need."""
    values.set_shape(model.shape)
    return values
