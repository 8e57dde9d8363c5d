"""Runs one training step as a static graph, which is traced once for all batch sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from cvserve.models.layers import fuse_batch_norm
from cvserve.training.optimizer_config import OptimizerConfig

LossFunction = Callable[[tf.Tensor, Any], tf.Tensor]
"""A function that returns the loss of (images, targets), a scalar. It runs the network itself, with training=True."""


@dataclass(frozen=True)
class Slowed:
    """Names variables that are frozen for `frozen_steps`, and then change by `rate` times the optimiser's update.

    Whole updates are scaled, not gradients: Adam cancels the factor of a gradient, and weight decay has no gradient.

    is_frozen: a bool variable, not trained, that the step sets before it runs the loss; the loss can then skip the
    gradients of these variables.
    """

    variables: Sequence[keras.Variable]
    frozen_steps: int
    rate: float
    is_frozen: tf.Variable


@dataclass(frozen=True)
class Trainable:
    """Holds a network and its loss.

    network: takes images, uint8 [B, H, W, 3], and returns a dict of named outputs. slowed: the part of it that learns
    later or slower than the rest, if there is one.
    """

    network: keras.Model
    loss: LossFunction
    slowed: Slowed | None = None


def make_optimizer(config: OptimizerConfig, network: keras.Model) -> keras.optimizers.Optimizer:
    """Returns an optimiser that is built for the network's variables; each step sets its learning rate."""
    decay = config.weight_decay or None
    if config.name == "sgd":
        optimizer: keras.optimizers.Optimizer = keras.optimizers.SGD(
            config.learning_rate,
            momentum=config.momentum,
            nesterov=config.momentum > 0,
            weight_decay=decay,
            global_clipnorm=config.clip_norm,
        )
    else:
        optimizer = keras.optimizers.AdamW(
            config.learning_rate, weight_decay=config.weight_decay, global_clipnorm=config.clip_norm
        )
    if decay:
        without_decay = [variable for variable in network.trainable_variables if len(variable.shape) < 2]
        optimizer.exclude_from_weight_decay(var_list=without_decay)
    optimizer.build(network.trainable_variables)
    return optimizer


class TrainStep:
    """Runs forward pass, backward pass, update, and the running mean of the weights in one tf.function.

    Args:
        trained: the network and its loss. Its normalisation is replaced by a faster kernel, so that it must not be
            saved: save another network with the weights of `averages`.
        average_decay: of the running mean; early steps use (1 + t) / (10 + t) instead where that is smaller, so that
            the random start has little influence (tf.train.ExponentialMovingAverage, num_updates).
        specs: TensorSpecs of images and targets (a tensor, or a tuple of them) with the batch dimension None: the only
            signature of the graph.
    """

    def __init__(
        self,
        trained: Trainable,
        optimizer: keras.optimizers.Optimizer,
        *,
        average_decay: float,
        specs: Sequence[Any],
    ) -> None:
        self.network = network = trained.network
        fuse_batch_norm(network)
        self.optimizer = optimizer
        self.averages = [tf.Variable(variable.value, trainable=False) for variable in network.variables]
        self._loss = trained.loss
        self._slowed = trained.slowed
        self._average_decay = average_decay
        images, targets = specs
        self.run = tf.function(self._run, input_signature=[images, targets, tf.TensorSpec([], tf.float32)])

    @property
    def traces(self) -> int:
        """Returns how many graphs were built; 1 in a whole training."""
        return self.run.experimental_get_tracing_count()

    def _run(self, images: tf.Tensor, targets: Any, learning_rate: tf.Tensor) -> tf.Tensor:
        variables = self.network.trainable_variables
        slowed = self._slowed
        if slowed is not None:
            is_frozen = self.optimizer.iterations.value < slowed.frozen_steps
            slowed.is_frozen.assign(is_frozen)
            before = [tf.identity(variable.value) for variable in slowed.variables]
        with tf.GradientTape() as tape:
            loss = self._loss(images, targets)
        gradients = tape.gradient(loss, variables)
        self.optimizer.learning_rate.assign(learning_rate)
        self.optimizer.apply(gradients, variables)
        if slowed is not None:
            rate = tf.where(is_frozen, 0.0, slowed.rate)
            for variable, old in zip(slowed.variables, before, strict=True):
                variable.assign(old + rate * (variable.value - old))
        step = tf.cast(self.optimizer.iterations.value, tf.float32)
        decay = tf.minimum(self._average_decay, (1.0 + step) / (10.0 + step))
        for average, variable in zip(self.averages, self.network.variables, strict=True):
            value = tf.convert_to_tensor(variable.value)
            if value.dtype.is_floating:
                average.assign(decay * average + (1.0 - decay) * value)
            else:  # seed states of dropout and the like
                average.assign(value)
        return loss


def specs_of(dataset: tf.data.Dataset) -> tuple[Any, Any]:
    """Returns the TensorSpecs of a dataset of (images, targets), with None as the batch dimension."""

    def batch_open(spec: tf.TensorSpec) -> tf.TensorSpec:
        return tf.TensorSpec([None, *spec.shape[1:]], spec.dtype)

    images, targets = dataset.element_spec
    return batch_open(images), tf.nest.map_structure(batch_open, targets)
