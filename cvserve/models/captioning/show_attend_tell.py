"""show_attend_tell: a recurrent network attends to the image at each word (Xu et al. 2015, arXiv 1502.03044)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from cvserve.models.captioning.captioner import Captioner, captioner
from cvserve.models.captioning.decoder import Tensors
from cvserve.models.captioning.encoder import grid_encoder
from cvserve.models.captioning.recurrent import Cell, RecurrentDecoder, check_recurrent
from cvserve.models.options import check_whole
from cvserve.models.registry import ModelEntry, Paper, register


@keras.saving.register_keras_serializable(package="cvserve")
class ShowAttendTellDecoder(RecurrentDecoder):
    """Decodes recurrently with soft attention over the places a_1, ..., a_L of the image.

    Of the state before, h: e_i = v . tanh(W_a a_i + W_h h), alpha = softmax(e), z = beta sum_i alpha_i a_i with the
    gate beta = sigmoid(w . h) (sections 4.2 and 4.2.1). The cell sees [word; z]; the scores are made of word, state
    and z (equation 7). The first state is a tanh of the mean of all places (section 3.1.2).

    Args:
        attention: size of the keys W_a a_i, which are computed once an image.
        others: of `RecurrentDecoder`.
    """

    attends = True

    def __init__(self, num_tokens: int, length: int, *, attention: int = 128, **kwargs: Any) -> None:
        super().__init__(num_tokens, length, **kwargs)
        self.attention_size = attention

        def dense(units: int, name: str, **options: Any) -> layers.Dense:
            return layers.Dense(units, dtype="float32", name=name, **options)

        self.starts = {name: dense(self.units, f"start_{name}", activation="tanh") for name in self.names}
        self.keys = dense(attention, "keys", use_bias=False)
        self.query = dense(attention, "query")
        self.energy = dense(1, "energy", use_bias=False)
        self.gate = dense(1, "gate", activation="sigmoid")
        self.told_state = dense(self.embedding_size, "told_state")
        self.told_picture = dense(self.embedding_size, "told_picture", use_bias=False)

    def build(self, features_shape: tuple[Any, ...], tokens_shape: tuple[Any, ...] | None = None) -> None:
        """Creates the weights."""
        channels = features_shape[-1]
        for layer in (*self.starts.values(), self.keys, self.told_picture):
            layer.build((None, channels))
        for layer in (self.query, self.gate, self.told_state):
            layer.build((None, self.units))
        self.energy.build((None, self.attention_size))
        self.embedding.build((None,))
        self.cell.build((None, self.embedding_size + channels))
        self.scores.build((None, self.embedding_size))

    def memory(self, features: tf.Tensor) -> Tensors:
        """Computes what is known of the image, see `CaptionDecoder`."""
        return {"values": features, "keys": self.keys(features)}

    def initial_state(self, memory: Tensors) -> Tensors:
        """Returns the state before the first token, see `CaptionDecoder`."""
        mean = tf.reduce_mean(memory["values"], axis=1)
        return {name: start(mean) for name, start in self.starts.items()}

    def advance(self, words: tf.Tensor, memory: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
        """Runs the cell on one token, see `RecurrentDecoder`."""
        hidden = state["hidden"]
        energy = self.energy(tf.tanh(memory["keys"] + self.query(hidden)[:, None]))
        attention = tf.nn.softmax(energy[..., 0], axis=-1)
        seen = tf.matmul(attention[:, None], memory["values"])[:, 0] * self.gate(hidden)
        state = self.run_cell(tf.concat([words, seen], axis=-1), state)
        return state, {"attention": attention, "seen": seen}

    def readout(self, words: tf.Tensor, hidden: tf.Tensor, extras: Tensors) -> tf.Tensor:
        """Returns the vector that scores are made of, see `RecurrentDecoder`."""
        return words + self.told_state(hidden) + self.told_picture(extras["seen"])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "attention": self.attention_size}


def show_attend_tell(
    *,
    num_classes: int,
    image_size: tuple[int, int],
    length: int = 24,
    weights: str | None = None,
    backbone: str = "resnet18",
    backbone_options: Mapping[str, Any] | None = None,
    stride: int = 16,
    channels: int = 256,
    places: bool = True,
    cell: Cell = "lstm",
    units: int = 256,
    embedding: int = 128,
    attention: int = 128,
    dropout: float = 0.2,
) -> Captioner:
    """Builds the network.

    Args:
        num_classes: size of the vocabulary. length: ids of a sentence with <start> and <end>.
        weights: "imagenet" (backbones of keras.applications, vgg16), a file, or None.
        backbone, backbone_options, stride, channels, places: of `grid_encoder`. The paper has the 14 x 14 places of
            VGG19's stride of 16, and no vectors of places.
        cell: "rnn", "gru" or "lstm". units, embedding, attention, dropout: of `ShowAttendTellDecoder`.

    Raises:
        InvalidInput: a size or option that it cannot have.
    """
    check_recurrent("show_attend_tell", cell=cell, units=units, embedding=embedding, dropout=dropout)
    check_whole("show_attend_tell", attention=(attention, 2))
    encoder = grid_encoder(
        "show_attend_tell",
        image_size,
        backbone=backbone,
        options=backbone_options,
        weights=weights,
        stride=stride,
        channels=channels,
        places=places,
    )
    decoder = ShowAttendTellDecoder(
        num_classes,
        length,
        cell=cell,
        units=units,
        embedding=embedding,
        attention=attention,
        dropout=dropout,
        name="decoder",
    )
    return captioner(encoder, decoder, weights, name="show_attend_tell")


register(
    ModelEntry(
        "captioning",
        "show_attend_tell",
        show_attend_tell,
        128,
        "soft attention over the image's grid, word by word",
        Paper(
            "Show, Attend and Tell: Neural Image Caption Generation with Visual Attention",
            "Xu et al.",
            2015,
            "1502.03044",
        ),
        parameters=4_491_073,
    )
)
