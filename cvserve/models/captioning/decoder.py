"""Defines the interface of decoders: whole sentences in training, one token at a time in use."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import tensorflow as tf

Tensors = dict[str, tf.Tensor]


class Step(NamedTuple):
    """Holds the results of one step.

    logits: float32 [B, V], scores of the token that follows. state: what the next step takes, of the same names, shapes
    and dtypes as before. attention: float32 [B, L], shares of the places of the image, summing to 1; None for
    decoders that do not attend.
    """

    logits: tf.Tensor
    state: Tensors
    attention: tf.Tensor | None = None


class TeacherForced(NamedTuple):
    """Holds the results of whole sentences.

    logits: float32 [B, T, V], at each place the scores of the next token. attention: float32 [B, T, L], as of `Step`,
    or None.
    """

    logits: tf.Tensor
    attention: tf.Tensor | None = None


class CaptionDecoder(keras.layers.Layer):
    """Predicts the next token from the features of an image and the tokens so far.

    Token ids are those of `cvserve.artifact.vocabulary`: 0 <pad>, 1 <start>, 2 <end>, 3 <unk>. It computes in float32
    whatever the policy. `build` makes every weight, so that `memory`, `initial_state` and `step` can be called without
    the layer itself having been called. Sub-classes write those three, `teacher_forced`, `build` and `get_config`, with
    operations that ONNX and TFLite have.

    Args:
        num_tokens: V, size of the vocabulary.
        length: T, ids of a sentence with <start> and <end>. A decoder sees at most T - 1 of them, at the positions 0
            (<start>) to T - 2.

    Call arguments:
        features: float [B, L, C], of L places of an image.
        tokens: int32 [B, N], N <= T - 1: <start> and what follows it, in teacher forcing.

    Returns:
        float32 [B, N, V]: what `step` gives at each position.
    """

    attends = False
    """Whether `step` returns `attention`."""

    def __init__(self, num_tokens: int, length: int, **kwargs: Any) -> None:
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        self.num_tokens = num_tokens
        self.length = length

    def memory(self, features: tf.Tensor) -> Tensors:
        """Computes from features [B, L, C] what stays the same for all tokens, such as keys: each [B, ...]."""
        raise NotImplementedError

    def initial_state(self, memory: Tensors) -> Tensors:
        """Returns the state before <start>: each [B, ...] of a fixed shape."""
        raise NotImplementedError

    def step(self, tokens: tf.Tensor, position: tf.Tensor | int, memory: Tensors, state: Tensors) -> Step:
        """Computes the scores of the next token, without dropout.

        Args:
            tokens: int32 [B]. position: int32 scalar, 0 for <start>, the same for the whole batch.
            memory, state: what the methods of these names, or the step before, gave.
        """
        raise NotImplementedError

    def teacher_forced(self, features: tf.Tensor, tokens: tf.Tensor, training: bool = False) -> TeacherForced:
        """Computes the scores of whole sentences at once. Arguments are those of the call."""
        raise NotImplementedError

    def call(self, features: tf.Tensor, tokens: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Computes the outputs that the class describes."""
        return self.teacher_forced(features, tokens, training=training).logits

    def compute_output_spec(
        self, features: keras.KerasTensor, tokens: keras.KerasTensor, training: bool = False
    ) -> keras.KerasTensor:
        """Returns the shapes and dtypes of the outputs."""
        return keras.KerasTensor((*tokens.shape, self.num_tokens), dtype="float32")

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        config = super().get_config()
        config.pop("dtype", None)
        return {**config, "num_tokens": self.num_tokens, "length": self.length}
