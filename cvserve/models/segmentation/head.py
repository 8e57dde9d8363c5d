"""Builds the head of a network: from features to class scores of every pixel."""

from __future__ import annotations

import keras
from keras import layers


def class_scores(features: keras.KerasTensor, num_classes: int, stride: int) -> keras.KerasTensor:
    """Applies a 1x1 convolution, and interpolates bilinearly to the size of the images.

    Both compute in float32 whatever the policy: they are cheap, and scores of bfloat16 have three digits.

    Args:
        features: float [B, H / stride, W / stride, C].

    Returns:
        float32 [B, H, W, num_classes].
    """
    scores = layers.Conv2D(num_classes, 1, kernel_initializer="he_normal", dtype="float32", name="scores")(features)
    return enlarge(scores, stride, name="scores_enlarged")


def enlarge(features: keras.KerasTensor, factor: int, *, name: str) -> keras.KerasTensor:
    """Interpolates bilinearly with pixel centres at half pixels (TensorFlow's, ONNX's and TFLite's `half_pixel`).

    Args:
        features: float [B, H, W, C].

    Returns:
        float32 [B, factor * H, factor * W, C]; the input itself for a factor of 1.
    """
    if factor == 1:
        return features
    return layers.UpSampling2D(factor, interpolation="bilinear", dtype="float32", name=name)(features)
