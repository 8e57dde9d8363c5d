"""Builds the encoder of captioning networks: from an image to features of the places of a grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from cvserve.models.backbones import pick_strides
from cvserve.models.backbones.encoder import encoder_features
from cvserve.models.layers import conv_norm_relu
from cvserve.models.options import check_sides, check_whole


@dataclass(frozen=True)
class Encoder:
    """Holds the two parts of an encoder.

    backbone: images to its map, float [B, rows, columns, D]. head: the map to features float32 [B, L, C], row by row.
    grid: rows, columns.
    """

    backbone: keras.Model
    head: keras.Model
    grid: tuple[int, int]


def grid_encoder(
    model: str,
    image_size: tuple[int, int],
    *,
    backbone: str,
    options: Mapping[str, Any] | None,
    weights: str | None,
    stride: int,
    channels: int,
    places: bool,
) -> Encoder:
    """Builds an encoder.

    Args:
        image_size: (height, width), multiples of `stride`.
        backbone, options, weights: of `encoder_features`.
        stride: of the map that is used, in pixels; later stages of the backbone are left out.
        channels: C, made of the map by a 3x3 convolution, which looks at what a backbone of another task has found.
        places: whether learned vectors of row and column are added, so that each feature contains its position.

    Raises:
        InvalidInput: a size or option that it cannot have.
    """
    check_whole(model, stride=(stride, 1), channels=(channels, 2))
    check_sides(model, image_size, stride)
    images = keras.Input((*image_size, 3), dtype="uint8", name="images")
    features = pick_strides(encoder_features(images, backbone, options, weights), [stride], backbone)[stride]
    seeing = keras.Model(images, features, name="backbone")

    rows, columns, depth = features.shape[1:]
    entry = keras.Input((rows, columns, depth), dtype=features.dtype, name="map")
    described = conv_norm_relu(entry, channels, 3, name="describe")
    if places:
        described = PlaceVectors(name="places")(described)
    described = layers.Reshape((rows * columns, channels), dtype="float32", name="grid")(described)
    return Encoder(seeing, keras.Model(entry, described, name="head"), (rows, columns))


@keras.saving.register_keras_serializable(package="cvserve")
class PlaceVectors(layers.Layer):
    """Adds a learned vector of its row and one of its column to each place, float32 [B, rows, columns, C]."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Creates the weights."""
        _, rows, columns, channels = shape
        initializer = keras.initializers.RandomNormal(stddev=0.3)
        self.row = self.add_weight(shape=(rows, 1, channels), initializer=initializer, name="row")
        self.column = self.add_weight(shape=(1, columns, channels), initializer=initializer, name="column")

    def call(self, features: tf.Tensor) -> tf.Tensor:
        """Computes the outputs that the class describes."""
        return features + self.row + self.column

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        config = super().get_config()
        config.pop("dtype", None)
        return config
