"""The end of a captioning network: features to the sentence that is found, inside the graph."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import layers

from cvserve.artifact.vocabulary import END, PAD, START, UNKNOWN
from cvserve.models.captioning.decoder import CaptionDecoder

_NEVER = (PAD, START, UNKNOWN)


@keras.saving.register_keras_serializable(package="cvserve")
class Captions(layers.Layer):
    """Features [B, L, C] to the sentence of the best next token each time.

    Returns:
        {"token_ids": int32 [B, T - 1], without <start>, <pad> after <end>; "log_probability": float32 [B], of the whole
        sentence with <end>; "attention": float32 [B, T - 1, L], of decoders that attend}.
    """

    def __init__(self, decoder: CaptionDecoder, **kwargs: Any) -> None:
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        self.decoder = decoder

    def build(self, features_shape: tuple[int | None, ...]) -> None:
        if not self.decoder.built:
            self.decoder.build(features_shape)

    def call(self, features: tf.Tensor) -> dict[str, tf.Tensor]:
        decoder, steps = self.decoder, self.decoder.length - 1
        memory = decoder.memory(features)
        batch = tf.shape(features)[0]
        never = tf.reduce_max(tf.one_hot(_NEVER, decoder.num_tokens), axis=0) * -1e9
        places = features.shape[1] if decoder.attends else 0

        def body(position: tf.Tensor, last: tf.Tensor, ids: tf.Tensor, score: tf.Tensor, seen: Any, state: Any) -> Any:
            step = decoder.step(last, position, memory, state)
            scores = tf.nn.log_softmax(step.logits) + never
            goes_on = tf.cast((last != END) & (last != PAD), tf.int32)
            token = tf.argmax(scores, axis=-1, output_type=tf.int32) * goes_on
            here = tf.one_hot(position, steps, dtype=tf.int32)[None]
            ids = ids + here * token[:, None]
            score = score + tf.reduce_max(scores, axis=-1) * tf.cast(goes_on, tf.float32)
            if decoder.attends:
                shares = step.attention * tf.cast(goes_on, tf.float32)[:, None]
                seen = seen + tf.cast(here, tf.float32)[..., None] * shares[:, None]
            return position + 1, token, ids, score, seen, step.state

        start = (
            tf.constant(0),
            tf.fill([batch], START),
            tf.zeros([batch, steps], tf.int32),
            tf.zeros([batch]),
            tf.zeros([batch, steps, places]),
            decoder.initial_state(memory),
        )
        found = tf.while_loop(lambda position, *_: position < steps, body, start)
        answers = {"token_ids": found[2], "log_probability": found[3]}
        return {**answers, "attention": found[4]} if decoder.attends else answers

    def compute_output_spec(self, features: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
        batch, places = features.shape[:2]
        steps = self.decoder.length - 1
        answers = {
            "token_ids": keras.KerasTensor((batch, steps), dtype="int32"),
            "log_probability": keras.KerasTensor((batch,), dtype="float32"),
        }
        if self.decoder.attends:
            answers["attention"] = keras.KerasTensor((batch, steps, places), dtype="float32")
        return answers

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("dtype", None)
        return {**config, "decoder": keras.saving.serialize_keras_object(self.decoder)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Captions:
        decoder = keras.saving.deserialize_keras_object(config["decoder"])
        return cls(**{**config, "decoder": decoder})
