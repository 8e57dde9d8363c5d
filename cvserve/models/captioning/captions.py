"""Implements the last layer of every captioning network, which searches the sentences of an image."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import layers

from cvserve.artifact import Decoding
from cvserve.errors import InvalidInput
from cvserve.models.captioning.decoder import CaptionDecoder
from cvserve.models.captioning.search import search


@keras.saving.register_keras_serializable(package="cvserve")
class Captions(layers.Layer):
    """Searches the sentences of images with a decoder, in one call of the graph.

    Args:
        decoder: what it searches with; its weights are this layer's.
        grid: rows and columns of the features, whose product is L, for decoders that attend.
        decoding: how sentences are searched.

    Call arguments:
        features: float [B, L, C].

    Returns:
        {"token_ids": int32 [B, N], "log_probability": float32 [B]}, N being the decoder's length less 1, for <start> is
        left out; with decoders that attend also "attention": float32 [B, N, rows, columns], shares of the image that
        sum to 1 at each token, and 0 behind the end of the sentence. Where several sentences are wanted, K of them, the
        shapes are [B, K, N], [B, K] and [B, K, N, rows, columns], as `cvserve.postproc.decoders.captioning` takes them.
    """

    def __init__(
        self,
        decoder: CaptionDecoder,
        grid: tuple[int, int] | None = None,
        decoding: Decoding | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        if decoder.attends and grid is None:
            raise InvalidInput("the captions of a decoder that attends need the grid of its features")
        self.decoder = decoder
        self.grid = None if grid is None else (int(grid[0]), int(grid[1]))
        self.decoding = decoding or Decoding()

    def build(self, features: tuple[int | None, ...]) -> None:
        """Creates the weights."""
        if not self.decoder.built:
            self.decoder.build(features)
        self.built = True

    def call(self, features: tf.Tensor) -> dict[str, tf.Tensor]:
        """Computes the outputs that the class describes."""
        found = search(self.decoder, features, self.decoding)
        answers = {"token_ids": found.token_ids, "log_probability": found.log_probability}
        if found.attention is not None:
            sentences, tokens = found.attention.shape[1:3]
            answers["attention"] = tf.reshape(found.attention, (-1, sentences, tokens, *(self.grid or ())))
        if self.decoding.sentences == 1:
            return {name: values[:, 0] for name, values in answers.items()}
        return answers

    def compute_output_spec(self, features: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
        """Returns the shapes and dtypes of the outputs."""
        count = self.decoder.length - 1
        shape = (features.shape[0],) if self.decoding.sentences == 1 else (features.shape[0], self.decoding.sentences)
        answers = {
            "token_ids": keras.KerasTensor((*shape, count), dtype="int32"),
            "log_probability": keras.KerasTensor(shape, dtype="float32"),
        }
        if self.decoder.attends:
            answers["attention"] = keras.KerasTensor((*shape, count, *(self.grid or ())), dtype="float32")
        return answers

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        config = super().get_config()
        config.pop("dtype", None)
        return {
            **config,
            "decoder": keras.saving.serialize_keras_object(self.decoder),
            "grid": self.grid,
            "decoding": self.decoding.model_dump(exclude_defaults=True),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Captions:
        """Makes the layer from what `get_config` returned."""
        decoder = keras.saving.deserialize_keras_object(config["decoder"])
        return cls(**{**config, "decoder": decoder, "decoding": Decoding.model_validate(config["decoding"])})


def captions_of(model: keras.Model) -> Captions | None:
    """Returns the layer that searches a network's sentences, or None."""
    return next((layer for layer in model.layers if isinstance(layer, Captions)), None)


def with_decoding(model: keras.Model, decoding: Decoding) -> keras.Model:
    """Returns the same network, weights shared, with another search.

    Raises:
        InvalidInput: it has no layer `Captions`, or does not know as many tokens as are wanted.
    """
    layer = captions_of(model)
    if layer is None:
        raise InvalidInput(f"{model.name} has no layer Captions of cvserve's: how it finds its sentences is fixed")
    answers = Captions(layer.decoder, layer.grid, decoding, name=layer.name)(layer.input)
    return keras.Model(model.input, answers, name=model.name)
