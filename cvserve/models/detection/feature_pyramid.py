"""Builds the feature pyramid, which adds coarse maps of high-level features to fine maps of exact places."""

from __future__ import annotations

from typing import Literal

import keras
from keras import layers, ops

from cvserve.models.backbones import Features
from cvserve.models.layers.convolution import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM

Norm = Literal["batch", "group", "none"]


def feature_pyramid(stages: Features, *, channels: int, coarsest: int, norm: Norm = "batch") -> Features:
    """Builds a pyramid over a backbone's maps (Lin et al. 2016, arXiv 1612.03144), with coarser ones on top.

    Args:
        stages: stride to map of the backbone, each stride twice the one before.
        channels: of every level.
        coarsest: stride of the last level; what the backbone lacks are 3x3 convolutions of stride 2, the first over the
            backbone's last map, with ReLU between them (RetinaNet, section 4, note 2).
        norm: "batch" normalises every convolution, which training from scratch wants; "group" does so within each
            image; "none" is the paper's.

    Returns:
        Stride to map [B, ceil(H / stride), ceil(W / stride), channels].
    """
    strides = sorted(stages)
    merged: Features = {}
    above: keras.KerasTensor | None = None
    for stride in reversed(strides):
        features = _convolution(stages[stride], channels, 1, norm=norm, name=f"pyramid_{stride}_lateral")
        if above is not None:
            larger = layers.UpSampling2D(2, name=f"pyramid_{stride}_up")(above)
            # Odd maps: the coarser one, doubled, is a row or column too large.
            features = layers.Add(name=f"pyramid_{stride}_add")(
                [features, larger[:, : features.shape[1], : features.shape[2], :]]
                if larger.shape[1:3] != features.shape[1:3]
                else [features, larger]
            )
        merged[stride] = above = features
    levels = {
        stride: _convolution(merged[stride], channels, 3, norm=norm, name=f"pyramid_{stride}_out") for stride in strides
    }
    stride, top = strides[-1], stages[strides[-1]]
    while stride < coarsest:
        if stride > strides[-1]:
            top = ops.relu(top)
        stride *= 2
        levels[stride] = top = _convolution(top, channels, 3, stride=2, norm=norm, name=f"pyramid_{stride}_out")
    return {stride: features for stride, features in levels.items() if stride <= coarsest}


def normalize(features: keras.KerasTensor, norm: Norm, *, name: str) -> keras.KerasTensor:
    """Applies batch or group normalisation to [B, H, W, C], or nothing."""
    if norm == "none":
        return features
    if norm == "group":
        groups = _groups(features.shape[-1])
        return layers.GroupNormalization(groups, epsilon=BATCH_NORM_EPSILON, name=f"{name}_norm")(features)
    return layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, epsilon=BATCH_NORM_EPSILON, name=f"{name}_norm")(
        features
    )


def _groups(channels: int) -> int:
    """Returns 32 groups (Wu & He 2018, arXiv 1803.08494), or the most below that divide the channels."""
    return next(groups for groups in range(min(32, channels), 0, -1) if channels % groups == 0)


def _convolution(
    features: keras.KerasTensor, channels: int, kernel_size: int, *, stride: int = 1, norm: Norm, name: str
) -> keras.KerasTensor:
    features = layers.Conv2D(
        channels,
        kernel_size,
        strides=stride,
        padding="same",
        use_bias=norm == "none",
        kernel_initializer="glorot_uniform",
        name=f"{name}_conv",
    )(features)
    return normalize(features, norm, name=name)
