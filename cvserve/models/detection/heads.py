"""Builds the heads of detectors with anchors. They return the numbers of all boxes in the order of `BoxCoding`."""

from __future__ import annotations

import keras
from keras import layers

from cvserve.models.backbones import Features
from cvserve.models.detection.feature_pyramid import Norm, normalize


def shared_tower(pyramid: Features, *, channels: int, depth: int, norm: Norm, name: str) -> Features:
    """Applies `depth` 3x3 convolutions with ReLU to each level.

    All levels share the convolutions. Each has a normalisation of its own, since their statistics differ.

    Returns:
        Stride to map [B, h, w, channels].
    """
    levels = dict(pyramid)
    for index in range(depth):
        convolution = layers.Conv2D(
            channels,
            3,
            padding="same",
            use_bias=norm == "none",
            kernel_initializer="he_normal",
            name=f"{name}_{index + 1}_conv",
        )
        for stride, features in levels.items():
            own = f"{name}_{index + 1}_{stride}"
            levels[stride] = layers.ReLU(name=f"{own}_relu")(normalize(convolution(features), norm, name=own))
    return levels


def shared_output(
    tower: Features, anchors: int, numbers: int, *, bias: str | keras.initializers.Initializer, name: str
) -> keras.KerasTensor:
    """Applies one 3x3 convolution to all levels; it gives `numbers` numbers for each of a cell's anchors.

    Returns:
        float32 [B, A, numbers]: level by level, row by row, then the anchors of a cell.
    """
    convolution = layers.Conv2D(
        anchors * numbers,
        3,
        padding="same",
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
        bias_initializer=bias,
        name=f"{name}_conv",
    )
    return joined([convolution(features) for features in tower.values()], numbers, name=name)


def joined(maps: list[keras.KerasTensor], numbers: int, *, name: str) -> keras.KerasTensor:
    """Joins maps [B, h, w, anchors * numbers] of all levels: float32 [B, A, numbers]."""
    flat = [
        layers.Reshape((-1, numbers), dtype="float32", name=f"{name}_flat_{index}")(features)
        for index, features in enumerate(maps)
    ]
    return layers.Concatenate(axis=1, dtype="float32", name=name)(flat) if len(flat) > 1 else flat[0]
