"""Implements attention of several heads whose keys and values can be cached (Vaswani et al. 2017, arXiv 1706.03762)."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf
from keras import layers

HIDDEN = -1e9
"""Is added to the scores of positions that must not be attended to."""


class CachedAttention(layers.Layer):
    """Computes softmax(q k / sqrt(d)) v in each of `heads` heads of d channels (1706.03762, section 3.2), float32.

    Args:
        width: channels of queries and answers, a multiple of `heads`.
    """

    def __init__(self, width: int, heads: int, **kwargs: Any) -> None:
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        self.width, self.heads = width, heads
        self.query, self.key, self.value, self.output_dense = (
            layers.Dense(width, use_bias=name != "key", dtype="float32", name=name)
            for name in ("query", "key", "value", "output")
        )

    def build(self, queries_shape: tuple[int | None, ...], sources_shape: tuple[int | None, ...]) -> None:
        """Creates the weights."""
        self.query.build((None, queries_shape[-1]))
        self.key.build((None, sources_shape[-1]))
        self.value.build((None, sources_shape[-1]))
        self.output_dense.build((None, self.width))

    def remember(self, sources: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns keys and values, each [B, heads, S, d], of sources [B, S, C]."""
        return self._apart(self.key(sources)), self._apart(self.value(sources))

    def attend(
        self, queries: tf.Tensor, keys: tf.Tensor, values: tf.Tensor, hidden: tf.Tensor | float = 0.0
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Attends with queries [B, N, C].

        Args:
            keys, values: of `remember`. hidden: added to the scores, `HIDDEN` where nothing must be seen; its shape is
                spread to [B, heads, N, S].

        Returns:
            Answers [B, N, width] and attention weights [B, heads, N, S].
        """
        scaled = self._apart(self.query(queries)) * (1.0 / math.sqrt(self.width // self.heads))
        weights = tf.nn.softmax(tf.matmul(scaled, keys, transpose_b=True) + hidden, axis=-1)
        answers = tf.transpose(tf.matmul(weights, values), [0, 2, 1, 3])
        return self.output_dense(tf.reshape(answers, [-1, queries.shape[1], self.width])), weights

    def _apart(self, channels: tf.Tensor) -> tf.Tensor:
        heads = tf.reshape(channels, [-1, channels.shape[1], self.heads, self.width // self.heads])
        return tf.transpose(heads, [0, 2, 1, 3])
