"""Builds atrous spatial pyramid pooling: convolutions of several dilations on one map."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from cvserve.models.layers import conv_norm_relu


def spatial_pyramid(
    features: keras.KerasTensor, *, channels: int, rates: Sequence[int], name: str = "aspp"
) -> keras.KerasTensor:
    """Mixes a 1x1 convolution, dilated 3x3 ones and the mean of the whole map.

    The formula is that of Chen et al. 2017, arXiv 1706.05587, section 3.3.

    Args:
        features: float [B, H, W, C].
        channels: of each part and of the answer.
        rates: dilations of the 3x3 convolutions, in pixels of the map.

    Returns:
        float [B, H, W, channels].
    """
    height, width = features.shape[1:3]
    parts = [conv_norm_relu(features, channels, 1, name=f"{name}_1x1")]
    for index, rate in enumerate(rates):
        parts.append(conv_norm_relu(features, channels, 3, dilation=rate, name=f"{name}_{index + 1}"))
    mean = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(features)
    mean = conv_norm_relu(mean, channels, 1, name=f"{name}_whole")
    parts.append(layers.UpSampling2D((height, width), name=f"{name}_spread")(mean))
    joined = layers.Concatenate(name=f"{name}_parts")(parts)
    return conv_norm_relu(joined, channels, 1, name=f"{name}_out")
