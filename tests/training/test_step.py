"""The training step: one graph, the loss that it returns, decoupled decay, running means."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cvserve.models.classification.losses import smoothed_cross_entropy
from cvserve.training.optimizer_config import OptimizerConfig
from cvserve.training.step import Slowed, Trainable, TrainStep, make_optimizer

SPECS = (tf.TensorSpec([None, 8, 8, 3], tf.uint8), tf.TensorSpec([None], tf.int32))


def small_step(
    optimizer: OptimizerConfig, average_decay: float = 0.0, slow: tuple[int, float] | None = None
) -> TrainStep:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3), dtype="uint8")
    features = keras.layers.Conv2D(4, 3)(keras.layers.Rescaling(1 / 255)(inputs))
    features = keras.layers.BatchNormalization()(features)
    outputs = keras.layers.Dense(3)(keras.layers.Dropout(0.2)(keras.layers.Flatten()(features)))
    network = keras.Model(inputs, outputs)
    first = network.trainable_variables[:1]
    return TrainStep(
        Trainable(
            network,
            lambda images, labels: smoothed_cross_entropy(network(images, training=True), labels, 0.0),
            None if slow is None else Slowed(first, *slow, tf.Variable(False, trainable=False)),
        ),
        make_optimizer(optimizer, network),
        average_decay=average_decay,
        specs=SPECS,
    )


def batch(size: int) -> tuple[tf.Tensor, tf.Tensor]:
    rng = np.random.default_rng(size)
    return tf.constant(rng.integers(0, 256, (size, 8, 8, 3), np.uint8)), tf.constant(rng.integers(0, 3, size), tf.int32)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_one_trace_for_any_batch_size_and_learning_rate(name: str) -> None:
    step = small_step(OptimizerConfig(name=name, clip_norm=1.0))
    for index, size in enumerate([8, 8, 3, 8, 1, 5]):
        step.run(*batch(size), tf.constant(0.1 / (index + 1)))
    assert step.traces == 1


def test_overfits_a_few_images() -> None:
    step = small_step(OptimizerConfig(learning_rate=0.05, weight_decay=0))
    losses = [float(step.run(*batch(6), tf.constant(0.05))) for _ in range(80)]
    assert losses[-1] < 0.05 < losses[0]


def test_weight_decay_shrinks_kernels_and_nothing_else() -> None:
    step = small_step(OptimizerConfig(weight_decay=0.5, momentum=0))
    variables = {variable.path: variable.numpy() for variable in step.network.trainable_variables}
    # Zero gradients: only the decay moves anything.
    step.optimizer.learning_rate.assign(0.1)
    step.optimizer.apply([tf.zeros(value.shape) for value in variables.values()], step.network.trainable_variables)
    for variable in step.network.trainable_variables:
        factor = 0.95 if variable.path.endswith("kernel") else 1.0
        np.testing.assert_allclose(variable.numpy(), variables[variable.path] * factor, rtol=1e-6)


def test_running_mean_of_the_weights() -> None:
    step = small_step(OptimizerConfig(weight_decay=0), average_decay=0.5)
    kernel = step.network.trainable_variables[0]
    expected = kernel.numpy()
    for count in range(1, 4):
        step.run(*batch(4), tf.constant(0.1))
        decay = min(0.5, (1 + count) / (10 + count))
        expected = decay * expected + (1 - decay) * kernel.numpy()
    average = step.averages[[variable.path for variable in step.network.variables].index(kernel.path)]
    np.testing.assert_allclose(average.numpy(), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_slowed_part_is_frozen_and_then_moves_by_a_fraction(name: str) -> None:
    """Weight decay included, and with Adam, which divides factors of gradients out again."""
    config = OptimizerConfig(name=name, weight_decay=0.1)
    slowed, plain = small_step(config, slow=(2, 0.25)), small_step(config)
    start = plain.network.trainable_variables[0].numpy()
    for _ in range(2):
        slowed.run(*batch(4), tf.constant(0.1))
    kernel, *others = slowed.network.trainable_variables
    np.testing.assert_array_equal(kernel, start)
    assert all(np.abs(variable.numpy()).max() > 0 for variable in others)
    # From the same place a step of either: the one goes a quarter of the other's way.
    for variable, other in zip(plain.network.variables, slowed.network.variables, strict=True):
        variable.assign(other.value)
    for variable, other in zip(plain.optimizer.variables, slowed.optimizer.variables, strict=True):
        variable.assign(other.value)
    for step in (slowed, plain):
        step.run(*batch(4), tf.constant(0.1))
    way, whole = kernel.numpy() - start, plain.network.trainable_variables[0].numpy() - start
    assert np.abs(whole).max() > 1e-3
    np.testing.assert_allclose(way, 0.25 * whole, rtol=1e-3, atol=1e-6)
    assert slowed.traces == 1


def test_loss_of_the_lectures_worked_example() -> None:
    """Scores (3.2, 5.1, -1.7), true class 0: p = 0.13, loss 2.04; no knowledge at all: log(C)."""
    loss = smoothed_cross_entropy(tf.constant([[3.2, 5.1, -1.7]]), tf.constant([0]), 0.0)
    assert float(loss) == pytest.approx(2.04, abs=0.005)
    assert float(smoothed_cross_entropy(tf.zeros([4, 10]), tf.zeros([4], tf.int32), 0.1)) == pytest.approx(np.log(10))


def test_label_smoothing_against_the_formula() -> None:
    logits = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    labels = np.array([0, 3, 1, 1, 2])
    targets = np.eye(4)[labels] * 0.8 + 0.2 / 4
    log_softmax = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    loss = smoothed_cross_entropy(tf.constant(logits), tf.constant(labels, tf.int32), 0.2)
    assert float(loss) == pytest.approx(-(targets * log_softmax).sum(axis=1).mean(), rel=1e-5)
