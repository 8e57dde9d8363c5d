"""Computes the log probabilities of the tokens that may follow."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from cvserve.artifact.vocabulary import PAD, START, UNKNOWN
from cvserve.models.captioning.search.sentences import NEVER

NOT_ALLOWED = (PAD, START, UNKNOWN)


def not_allowed(num_tokens: int) -> np.ndarray:
    """Returns bool [1, V]: the tokens that no sentence contains."""
    return np.isin(np.arange(num_tokens), NOT_ALLOWED)[None]


def log_probabilities(logits: tf.Tensor, token_ids: tf.Tensor, position: tf.Tensor, ngram: int) -> tf.Tensor:
    """Returns float32 [R, V]: the log probability of each token that may follow, NEVER for the others.

    Args:
        logits: float32 [R, V]. token_ids: int32 [R, N], the tokens before `position`.
        ngram: see `Decoding.no_repeat_ngram`.
    """
    values = tf.nn.log_softmax(logits, axis=-1)
    values = tf.where(tf.constant(not_allowed(logits.shape[-1])), tf.constant(NEVER), values)
    if 0 < ngram <= token_ids.shape[1]:
        values = tf.where(_repeating(token_ids, position, ngram, logits.shape[-1]), tf.constant(NEVER), values)
    return values


def _repeating(token_ids: tf.Tensor, position: tf.Tensor, ngram: int, num_tokens: int) -> tf.Tensor:
    """Returns bool [R, V]: tokens that would repeat a sequence of n tokens."""
    count = token_ids.shape[1]
    windows = count - ngram + 1
    # Of window j the tokens j to j + n - 2 are compared, and j + n - 1 is what followed.
    same = tf.expand_dims(tf.range(windows) + (ngram - 1) < position, 0)
    for back in range(1, ngram):
        here = tf.cast(tf.equal(tf.range(count), position - back), tf.int32)
        last = tf.reduce_sum(token_ids * here, axis=1, keepdims=True)
        start = ngram - 1 - back
        same = tf.logical_and(same, tf.equal(token_ids[:, start : start + windows], last))
    # <pad> stands for "no token": it is never allowed anyway, and ONNX's OneHot takes -1 for the last token.
    followed = tf.where(same, token_ids[:, ngram - 1 :], PAD)
    repeats = tf.one_hot(followed, num_tokens, dtype=tf.float32)
    return tf.reduce_max(repeats, axis=1) > 0.5
