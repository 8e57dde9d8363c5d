"""Losses of captioning by hand; what follows a sentence has no influence."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cvserve.models.captioning.losses import attention_penalty, caption_cross_entropy

# Two sentences of two and one words: probabilities of the tokens 0 to 3.
SHARES = np.array([[[0.1, 0.2, 0.3, 0.4], [0.25] * 4], [[0.1, 0.1, 0.6, 0.2], [0.01, 0.01, 0.01, 0.97]]], np.float32)
TARGETS = tf.constant([[3, 2], [2, 0]])


def test_cross_entropy_by_hand() -> None:
    logits = tf.math.log(SHARES)
    plain = -(np.log(0.4) + np.log(0.25) + np.log(0.6)) / 3
    assert float(caption_cross_entropy(logits, TARGETS)) == pytest.approx(plain, rel=1e-6)
    counted = np.log(SHARES).reshape(4, 4)[:3]
    smoothed = 0.9 * plain - 0.1 * counted.mean()
    assert float(caption_cross_entropy(logits, TARGETS, 0.1)) == pytest.approx(smoothed, rel=1e-6)
    assert float(caption_cross_entropy(tf.zeros((2, 3, 50)), tf.ones((2, 3), tf.int32), 0.1)) == pytest.approx(
        np.log(50), rel=1e-6
    )


def test_what_follows_a_sentence_has_no_influence() -> None:
    logits = tf.Variable(tf.math.log(SHARES))
    with tf.GradientTape() as tape:
        loss = caption_cross_entropy(logits, TARGETS, 0.1)
    gradient = tape.gradient(loss, logits).numpy()
    assert not gradient[1, 1].any()
    assert np.abs(gradient[1, 0]).max() > 0.01
    assert float(caption_cross_entropy(tf.zeros((1, 2, 4)), tf.zeros((1, 2), tf.int32))) == 0.0


def test_attention_penalty_by_hand() -> None:
    attention = tf.constant([[[1.0, 0, 0], [0.5, 0.5, 0]], [[0.2, 0.3, 0.5], [0, 0, 1]]])
    # Sums over the words that are there: (1.5, 0.5, 0) and (0.2, 0.3, 0.5).
    expected = (0.25 + 0.25 + 1 + 0.64 + 0.49 + 0.25) / 6
    assert float(attention_penalty(attention, TARGETS)) == pytest.approx(expected, rel=1e-6)
