"""show_and_tell: a recurrent network gets one vector of the image (Vinyals et al. 2014, arXiv 1411.4555)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import keras
import tensorflow as tf
from keras import layers

from cvserve.models.captioning.captioner import Captioner, captioner
from cvserve.models.captioning.decoder import Tensors
from cvserve.models.captioning.encoder import grid_encoder
from cvserve.models.captioning.recurrent import Cell, RecurrentDecoder, check_recurrent
from cvserve.models.options import check_choice
from cvserve.models.registry import ModelEntry, Paper, register

Pooling = Literal["average", "flatten"]
Image = Literal["first", "always"]


@keras.saving.register_keras_serializable(package="cvserve")
class ShowAndTellDecoder(RecurrentDecoder):
    """Decodes recurrently from one normalised vector v of the image.

    Args:
        pooling: v is the mean of all places' features, or all of them one after the other, which keeps what is where.
        image: "first": v is the cell's input before <start>, and nothing afterwards (Show and Tell, equation 10);
            "always": v is beside each word, h' = tanh(W_x x + W_h h + W_v v) of a plain cell (Karpathy & Fei-Fei
            2014, arXiv 1412.2306; Donahue et al. 2014, arXiv 1411.4389).
        others: of `RecurrentDecoder`.
    """

    def __init__(
        self, num_tokens: int, length: int, *, pooling: Pooling = "average", image: Image = "first", **kwargs: Any
    ) -> None:
        super().__init__(num_tokens, length, **kwargs)
        self.pooling, self.image = pooling, image
        self.picture = layers.Dense(self.embedding_size, dtype="float32", name="picture")
        # A sum over thousands of features grows in training until it saturates the cell's gates, and the words no
        # longer have an effect. The paper's mean of a trained network's features does not need this.
        self.picture_norm = layers.LayerNormalization(epsilon=1e-5, dtype="float32", name="picture_norm")

    def build(self, features_shape: tuple[Any, ...], tokens_shape: tuple[Any, ...] | None = None) -> None:
        """Creates the weights."""
        places, channels = features_shape[1:]
        self.picture.build((None, channels if self.pooling == "average" else places * channels))
        self.picture_norm.build((None, self.embedding_size))
        self.embedding.build((None,))
        self.cell.build((None, self.embedding_size * (2 if self.image == "always" else 1)))
        self.scores.build((None, self.units))

    def memory(self, features: tf.Tensor) -> Tensors:
        """Computes what is known of the image, see `CaptionDecoder`."""
        if self.pooling == "average":
            vector = tf.reduce_mean(features, axis=1)
        else:
            vector = tf.reshape(features, [-1, features.shape[1] * features.shape[2]])
        return {"picture": self.picture_norm(self.picture(vector))}

    def initial_state(self, memory: Tensors) -> Tensors:
        """Returns the state before the first token, see `CaptionDecoder`."""
        picture = memory["picture"]
        zero = tf.zeros([tf.shape(picture)[0], self.units])
        state = dict.fromkeys(self.names, zero)
        return self.run_cell(picture, state) if self.image == "first" else state

    def advance(self, words: tf.Tensor, memory: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
        """Runs the cell on one token, see `RecurrentDecoder`."""
        inputs = tf.concat([words, memory["picture"]], axis=-1) if self.image == "always" else words
        return self.run_cell(inputs, state), {}

    def readout(self, words: tf.Tensor, hidden: tf.Tensor, extras: Tensors) -> tf.Tensor:
        """Returns the vector that scores are made of, see `RecurrentDecoder`."""
        return hidden

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "pooling": self.pooling, "image": self.image}


def show_and_tell(
    *,
    num_classes: int,
    image_size: tuple[int, int],
    length: int = 24,
    weights: str | None = None,
    backbone: str = "resnet18",
    backbone_options: Mapping[str, Any] | None = None,
    stride: int = 16,
    channels: int = 256,
    cell: Cell = "lstm",
    units: int = 256,
    embedding: int = 128,
    pooling: Pooling = "average",
    image: Image = "first",
    dropout: float = 0.2,
) -> Captioner:
    """Builds the network.

    Args:
        num_classes: size of the vocabulary. length: ids of a sentence with <start> and <end>.
        weights: "imagenet" (backbones of keras.applications, vgg16), a file, or None.
        backbone, backbone_options, stride, channels: of `grid_encoder`.
        cell: "rnn", "gru" or "lstm". units, embedding, pooling, image, dropout: of `ShowAndTellDecoder`. The paper has
            an LSTM of 512 units on the mean of a GoogLeNet's last map.

    Raises:
        InvalidInput: a size or option that it cannot have.
    """
    check_recurrent("show_and_tell", cell=cell, units=units, embedding=embedding, dropout=dropout)
    check_choice("show_and_tell", pooling=(pooling, get_args(Pooling)), image=(image, get_args(Image)))
    encoder = grid_encoder(
        "show_and_tell",
        image_size,
        backbone=backbone,
        options=backbone_options,
        weights=weights,
        stride=stride,
        channels=channels,
        places=False,
    )
    decoder = ShowAndTellDecoder(
        num_classes,
        length,
        cell=cell,
        units=units,
        embedding=embedding,
        dropout=dropout,
        pooling=pooling,
        image=image,
        name="decoder",
    )
    return captioner(encoder, decoder, weights, name="show_and_tell")


register(
    ModelEntry(
        "captioning",
        "show_and_tell",
        show_and_tell,
        128,
        "a vector of the image into a recurrent network",
        Paper("Show and Tell: A Neural Image Caption Generator", "Vinyals et al.", 2014, "1411.4555"),
        parameters=5_274_688,
    )
)
