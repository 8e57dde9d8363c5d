"""A captioning network for tests: a few random weights that attend and remember; images have different sentences."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cvserve.artifact import Decoding, PreprocSpec, Vocabulary
from cvserve.artifact.vocabulary import SPACE, SPECIAL
from cvserve.models.captioning.captions import Captions
from cvserve.models.captioning.decoder import CaptionDecoder, Step, TeacherForced, Tensors

SIZE = (24, 32)
GRID = (3, 4)
PREPROC = PreprocSpec(height=24, width=32, resize="letterbox")
WORDS = ("a", "red", "blue", "circle", "square", "left", "of", "big", "small")


def vocabulary(length: int = 8, words: int = len(WORDS)) -> Vocabulary:
    return Vocabulary(kind="words", tokens=(*SPECIAL, *(SPACE + word for word in WORDS[:words])), length=length)


@keras.saving.register_keras_serializable(package="cvserve_tests")
class TinyDecoder(CaptionDecoder):
    """hidden' = tanh(embedding of the token + hidden U + what is seen), seen by attention with `hidden`.

    temper: of the logits; small values make sentences alike, and <end> no rarity.
    """

    attends = True

    def __init__(self, num_tokens: int, length: int, units: int = 8, temper: float = 2.0, **kwargs: Any) -> None:
        super().__init__(num_tokens, length, **kwargs)
        self.units, self.temper = units, temper

    def build(self, features: tuple[int | None, ...]) -> None:
        channels, units = features[-1], self.units
        normal = keras.initializers.RandomNormal(0, 1.0)

        def weight(*shape: int) -> Any:
            return self.add_weight(shape=shape, initializer=normal)

        self.keys, self.values = weight(channels, units), weight(channels, units)
        self.embedding, self.recurrent = weight(self.num_tokens, units), weight(units, units)
        self.places, self.out = weight(self.length - 1, units), weight(units, self.num_tokens)
        self.built = True

    def memory(self, features: tf.Tensor) -> Tensors:
        return {
            "keys": tf.tensordot(features, tf.convert_to_tensor(self.keys), 1),
            "values": tf.tensordot(features, tf.convert_to_tensor(self.values), 1),
        }

    def initial_state(self, memory: Tensors) -> Tensors:
        return {"hidden": tf.reduce_mean(memory["values"], axis=1)}

    def step(self, tokens: tf.Tensor, position: tf.Tensor | int, memory: Tensors, state: Tensors) -> Step:
        hidden = state["hidden"]
        weights = tf.nn.softmax(tf.reduce_sum(memory["keys"] * hidden[:, None], axis=-1), axis=-1)
        seen = tf.reduce_sum(weights[:, :, None] * memory["values"], axis=1)
        word = tf.gather(self.embedding, tokens) + tf.gather(self.places, position)
        hidden = tf.tanh(word + tf.matmul(hidden, self.recurrent) + seen)
        return Step(tf.matmul(hidden, self.out) * self.temper, {"hidden": hidden}, weights)

    def teacher_forced(self, features: tf.Tensor, tokens: tf.Tensor, training: bool = False) -> TeacherForced:
        memory = self.memory(features)
        state, steps = self.initial_state(memory), []
        for position in range(tokens.shape[1]):
            steps.append(self.step(tokens[:, position], position, memory, state))
            state = steps[-1].state
        return TeacherForced(
            tf.stack([step.logits for step in steps], 1), tf.stack([step.attention for step in steps], 1)
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units, "temper": self.temper}


def make_decoder(num_tokens: int = 9, length: int = 6, seed: int = 0, **options: Any) -> TinyDecoder:
    """A built one; the same weights for the same seed."""
    keras.utils.set_random_seed(seed)
    decoder = TinyDecoder(num_tokens, length, **options)
    decoder.build((None, 12, 4))
    return decoder


def make_features(batch: int, seed: int = 0) -> tf.Tensor:
    """float32 [batch, 12, 4]."""
    return tf.constant(np.random.default_rng(seed).normal(size=(batch, 12, 4)).astype(np.float32))


def make_captioner(
    decoding: Decoding | None = None, *, words: Vocabulary | None = None, seed: int = 0, **options: Any
) -> keras.Model:
    """uint8 [B, 24, 32, 3] to sentences of `words`, attention over 3 x 4 places with them."""
    words = words or vocabulary()
    keras.utils.set_random_seed(seed)
    images = keras.Input((*SIZE, 3), dtype="uint8", name="images")
    features = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(images)
    features = keras.layers.AveragePooling2D(8)(features)
    features = keras.layers.Conv2D(4, 1, kernel_initializer=keras.initializers.RandomNormal(0, 2.0))(features)
    features = keras.layers.Reshape((GRID[0] * GRID[1], 4), name="features")(features)
    captions = Captions(TinyDecoder(len(words), words.length, **options), GRID, decoding, name="captions")
    return keras.Model(images, captions(features), name="tiny_captioner")


def make_images(count: int, seed: int = 0) -> np.ndarray:
    """uint8 [count, 24, 32, 3]: blocks of colour, no two alike."""
    blocks = np.random.default_rng(seed).integers(0, 256, (count, 3, 4, 3), np.uint8)
    return np.asarray(blocks.repeat(8, axis=1).repeat(8, axis=2))
