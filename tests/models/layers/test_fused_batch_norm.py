"""The fused normalisation against Keras's own."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cvserve.models.layers import FusedBatchNormalization, fuse_batch_norm


@pytest.mark.parametrize("shape", [(4, 5, 6, 3), (16, 3)])
def test_it_is_keras_batch_normalisation(shape: tuple[int, ...]) -> None:
    pixels = tf.constant(np.random.default_rng(0).normal(2, 3, shape).astype(np.float32))
    results = []
    for kind in (keras.layers.BatchNormalization, FusedBatchNormalization):
        layer = kind(momentum=0.5, epsilon=1e-3)
        layer.build(shape)
        layer.gamma.assign([1.0, 2.0, 3.0])
        layer.beta.assign([0.5, -0.5, 0.0])
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            answer = layer(pixels, training=True)
            loss = tf.reduce_sum(answer**3)
        gradients = tape.gradient(loss, [pixels, *layer.trainable_variables])
        results.append([answer, *gradients, layer.moving_mean, layer.moving_variance.numpy()])
    *theirs, their_variance = results[0]
    *ours, our_variance = results[1]
    for expected, answer in zip(theirs, ours, strict=True):
        np.testing.assert_allclose(answer, expected, rtol=1e-3, atol=2e-3)
    count = np.prod(shape[:-1]) if len(shape) == 4 else np.inf
    # The batch's part of it is that of a sample, where the kernel is used: half of it here, the other half is 1.
    np.testing.assert_allclose(our_variance - 0.5, (their_variance - 0.5) / (1 - 1 / count), rtol=1e-3)


def test_frozen_layers_use_what_they_have() -> None:
    layer = FusedBatchNormalization()
    layer.build((None, 2, 2, 1))
    layer.trainable = False
    pixels = np.full((3, 2, 2, 1), 7.0, np.float32)
    np.testing.assert_allclose(layer(pixels, training=True), 7.0, rtol=1e-2)
    assert float(layer.moving_mean[0]) == 0.0


def test_half_precision_keeps_its_parameters() -> None:
    layer = FusedBatchNormalization(dtype="mixed_bfloat16")
    pixels = np.random.default_rng(0).normal(100, 3, (8, 6, 6, 2)).astype(np.float32)
    answer = layer(tf.cast(pixels, tf.bfloat16), training=True)
    assert answer.dtype == tf.bfloat16
    assert {variable.dtype for variable in layer.variables} == {"float32"}
    assert abs(float(tf.reduce_mean(tf.cast(answer, tf.float32)))) < 0.05
    twin = FusedBatchNormalization.from_config(layer.get_config())
    assert twin(tf.cast(pixels, tf.bfloat16), training=True).dtype == tf.bfloat16


def test_it_answers_as_keras_does() -> None:
    own, theirs = FusedBatchNormalization(), keras.layers.BatchNormalization()
    values = [np.array(value, np.float32) for value in ([1, 2], [0, 1], [3, -3], [4, 0.5])]
    pixels = np.random.default_rng(0).normal(size=(2, 3, 3, 2)).astype(np.float32)
    for layer in (own, theirs):
        layer.build((None, 3, 3, 2))
        layer.set_weights(values)
    np.testing.assert_array_equal(own(pixels, training=False), theirs(pixels, training=False))


def test_a_network_is_changed_in_place() -> None:
    """In a network within a network as well, under mixed precision, and without another answer in inference."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        inner = keras.Sequential([keras.layers.Conv2D(3, 3), keras.layers.BatchNormalization()])
        network = keras.Sequential([keras.Input((6, 6, 2)), inner, keras.layers.BatchNormalization(name="last")])
    finally:
        keras.config.set_dtype_policy(policy)
    pixels = np.random.default_rng(0).normal(3, 2, (4, 6, 6, 2)).astype(np.float32)
    before = network(pixels, training=False)
    trained_before = network(pixels, training=True)
    names = [variable.path for variable in network.variables]
    assert fuse_batch_norm(network) == 2
    assert fuse_batch_norm(network) == 0
    assert type(network.get_layer("last")) is FusedBatchNormalization
    assert [variable.path for variable in network.variables] == names
    trained = network(pixels, training=True)
    assert trained.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(trained, tf.float32), tf.cast(trained_before, tf.float32), atol=0.05)
    assert before.dtype == network(pixels, training=False).dtype
