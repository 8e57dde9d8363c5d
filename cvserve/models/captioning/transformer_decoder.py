"""Implements the decoder of a transformer, with a cache of keys and values."""

from __future__ import annotations

from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from cvserve.models.captioning.attention import HIDDEN, CachedAttention
from cvserve.models.captioning.decoder import CaptionDecoder, Step, TeacherForced, Tensors

Positions = Literal["learned", "sinusoidal"]
Activation = Literal["relu", "gelu_tanh"]


@keras.saving.register_keras_serializable(package="cvserve")
class TransformerDecoder(CaptionDecoder):
    """Decodes by blocks of masked self-attention, attention over the places of the image and two dense layers.

    Each part is normalised before it, and once more all at the end (Xiong et al. 2020, arXiv 2002.04745: learns without
    a long warm-up). The state is the cache: keys and values of the positions so far, float32 [B, heads, T - 1, d]. The
    `attention` that is returned is the mean over the heads of the last block.

    Args:
        width: channels; a multiple of 2 and of `heads`. depth: blocks. hidden: channels between the two dense layers.
        positions: "learned" vectors, or the paper's "sinusoidal" ones (section 3.5).
        activation: "relu", or "gelu_tanh", the approximation of gelu that every format has.
        dropout: of what each part adds, and of the embedded words.
    """

    attends = True

    def __init__(
        self,
        num_tokens: int,
        length: int,
        *,
        width: int = 128,
        depth: int = 2,
        heads: int = 4,
        hidden: int = 512,
        positions: Positions = "learned",
        activation: Activation = "relu",
        dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_tokens, length, **kwargs)
        self.width, self.depth, self.heads, self.hidden = width, depth, heads, hidden
        self.positions, self.activation, self.dropout = positions, activation, dropout
        self.embedding = layers.Embedding(num_tokens, width, dtype="float32", name="embedding")
        self.embedding_dropout = layers.Dropout(dropout, dtype="float32", name="embedding_dropout")
        self.picture_norm = _norm("picture_norm")
        self.blocks = [
            Block(width, heads, hidden, activation, dropout, name=f"block_{index + 1}") for index in range(depth)
        ]
        self.norm = _norm("norm")
        self.scores = layers.Dense(num_tokens, dtype="float32", name="scores")

    def build(self, features_shape: tuple[Any, ...], tokens_shape: tuple[Any, ...] | None = None) -> None:
        """Creates the weights."""
        channels = features_shape[-1]
        if self.positions == "learned":
            initializer = keras.initializers.RandomNormal(stddev=0.05)
            self.position_vectors = self.add_weight(
                shape=(self.length - 1, self.width), initializer=initializer, name="positions"
            )
        self.embedding.build((None,))
        self.picture_norm.build((None, None, channels))
        for block in self.blocks:
            block.build((None, None, self.width), (None, None, channels))
        self.norm.build((None, None, self.width))
        self.scores.build((None, self.width))

    def memory(self, features: tf.Tensor) -> Tensors:
        """Computes what is known of the image, see `CaptionDecoder`."""
        features = self.picture_norm(features)
        memory: Tensors = {}
        for index, block in enumerate(self.blocks):
            memory[f"keys_{index}"], memory[f"values_{index}"] = block.looks.remember(features)
        return memory

    def initial_state(self, memory: Tensors) -> Tensors:
        """Returns the state before the first token, see `CaptionDecoder`."""
        batch = tf.shape(memory["keys_0"])[0]
        empty = tf.zeros([batch, self.heads, self.length - 1, self.width // self.heads])
        return {f"{kind}_{index}": empty for index in range(self.depth) for kind in ("keys", "values")}

    def step(self, tokens: tf.Tensor, position: tf.Tensor | int, memory: Tensors, state: Tensors) -> Step:
        """Computes the scores of the next token, see `CaptionDecoder`."""
        here = tf.one_hot(position, self.length - 1)
        vectors = self.embedding(tokens) + tf.linalg.matvec(self._positions(), here, transpose_a=True)
        mask = tf.cast(tf.range(self.length - 1) > position, tf.float32) * HIDDEN
        here = here[None, None, :, None]
        words, following = vectors[:, None], {}
        weights = None
        for index, block in enumerate(self.blocks):
            keys, values = block.reads.remember(block.reads_norm(words))
            keys = state[f"keys_{index}"] * (1.0 - here) + keys * here
            values = state[f"values_{index}"] * (1.0 - here) + values * here
            following[f"keys_{index}"], following[f"values_{index}"] = keys, values
            words, weights = block.pass_through(words, (keys, values), mask, _of_block(memory, index))
        return Step(self.scores(self.norm(words))[:, 0], following, tf.reduce_mean(weights, axis=1)[:, 0])

    def teacher_forced(self, features: tf.Tensor, tokens: tf.Tensor, training: bool = False) -> TeacherForced:
        """Computes the scores of whole sentences, see `CaptionDecoder`."""
        count = tokens.shape[1]
        memory = self.memory(features)
        words = self.embedding_dropout(self.embedding(tokens) + self._positions()[:count], training=training)
        mask = tf.constant(np.triu(np.full((count, count), HIDDEN, np.float32), 1))
        weights = None
        for index, block in enumerate(self.blocks):
            read = block.reads.remember(block.reads_norm(words))
            words, weights = block.pass_through(words, read, mask, _of_block(memory, index), training)
        return TeacherForced(self.scores(self.norm(words)), tf.reduce_mean(weights, axis=1))

    def _positions(self) -> tf.Tensor:
        """Returns the vectors of the positions: float32 [T - 1, width]."""
        if self.positions == "learned":
            return tf.convert_to_tensor(self.position_vectors)
        return tf.constant(sinusoids(self.length - 1, self.width))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        own = {name: getattr(self, name) for name in ("width", "depth", "heads", "hidden", "positions", "activation")}
        return {**super().get_config(), **own, "dropout": self.dropout}


class Block(layers.Layer):
    """Computes one block: `reads` attends to the words before, `looks` to the image; `widen` and `narrow` are dense."""

    def __init__(
        self, width: int, heads: int, hidden: int, activation: Activation, dropout: float, **kwargs: Any
    ) -> None:
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        self.activation = activation
        self.reads_norm, self.looks_norm, self.thinks_norm = map(_norm, ("reads_norm", "looks_norm", "thinks_norm"))
        self.reads = CachedAttention(width, heads, name="reads")
        self.looks = CachedAttention(width, heads, name="looks")
        self.widen = layers.Dense(hidden, dtype="float32", name="widen")
        self.narrow = layers.Dense(width, dtype="float32", name="narrow")
        self.drops = [layers.Dropout(dropout, dtype="float32", name=f"dropout_{part + 1}") for part in range(3)]

    def build(self, words_shape: tuple[int | None, ...], features_shape: tuple[int | None, ...]) -> None:
        """Creates the weights."""
        for norm in (self.reads_norm, self.looks_norm, self.thinks_norm):
            norm.build(words_shape)
        self.reads.build(words_shape, words_shape)
        self.looks.build(words_shape, features_shape)
        self.widen.build(words_shape)
        self.narrow.build((*words_shape[:-1], self.widen.units))

    def pass_through(
        self,
        words: tf.Tensor,
        read: tuple[tf.Tensor, tf.Tensor],
        mask: tf.Tensor,
        looked: tuple[tf.Tensor, tf.Tensor],
        training: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Sends words [B, N, width] through the block.

        Args:
            read, looked: keys and values of the words and of the image.
            mask: hides later words, see `hidden` of `CachedAttention.attend`.

        Returns:
            Words [B, N, width], and attention over the image's places [B, heads, N, L].
        """
        attended, _ = self.reads.attend(self.reads_norm(words), *read, mask)
        words = words + self.drops[0](attended, training=training)
        attended, weights = self.looks.attend(self.looks_norm(words), *looked)
        words = words + self.drops[1](attended, training=training)
        wide = self.widen(self.thinks_norm(words))
        wide = tf.nn.relu(wide) if self.activation == "relu" else tf.nn.gelu(wide, approximate=True)
        return words + self.drops[2](self.narrow(wide), training=training), weights


def sinusoids(count: int, width: int) -> np.ndarray:
    """Returns float32 [count, width]: sines in even channels, cosines in odd ones (arXiv 1706.03762, section 3.5)."""
    angles = np.arange(count)[:, None] / 10000 ** (np.arange(0, width, 2) / width)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(count, width).astype(np.float32)


def _norm(name: str) -> layers.Layer:
    return layers.LayerNormalization(epsilon=1e-5, dtype="float32", name=name)


def _of_block(memory: Tensors, index: int) -> tuple[tf.Tensor, tf.Tensor]:
    return memory[f"keys_{index}"], memory[f"values_{index}"]
