"""Builds a light backbone of cross-stage partial blocks, as in YOLOv8 (Wang et al. 2019, arXiv 1911.11929)."""

from __future__ import annotations

import keras
from keras import layers

from cvserve.models.backbones.registry import Backbone, register_backbone
from cvserve.models.backbones.weights import Features, fill_backbone
from cvserve.models.layers import pixel_range
from cvserve.models.layers.convolution import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM
from cvserve.models.options import check_whole
from cvserve.models.registry import Paper


def conv_norm_silu(
    features: keras.KerasTensor, filters: int, kernel_size: int, *, stride: int = 1, name: str
) -> keras.KerasTensor:
    """Applies a convolution without bias, batch normalisation and SiLU.

    Returns:
        float [B, ceil(H / stride), ceil(W / stride), filters].
    """
    features = layers.Conv2D(
        filters,
        kernel_size,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(features)
    features = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, epsilon=BATCH_NORM_EPSILON, name=f"{name}_norm")(
        features
    )
    return layers.Activation("silu", name=f"{name}_silu")(features)


def csp_block(
    features: keras.KerasTensor, filters: int, repeats: int, *, shortcut: bool = True, name: str
) -> keras.KerasTensor:
    """Sends half of the channels through `repeats` bottlenecks, keeps the output of each, and mixes them all."""
    half = filters // 2
    features = conv_norm_silu(features, 2 * half, 1, name=f"{name}_in")
    parts = [features[..., :half], features[..., half:]]
    for index in range(repeats):
        inner = conv_norm_silu(parts[-1], half, 3, name=f"{name}_{index + 1}a")
        inner = conv_norm_silu(inner, half, 3, name=f"{name}_{index + 1}b")
        parts.append(layers.Add(name=f"{name}_{index + 1}_add")([parts[-1], inner]) if shortcut else inner)
    return conv_norm_silu(layers.Concatenate(name=f"{name}_parts")(parts), filters, 1, name=f"{name}_out")


def pyramid_pooling(features: keras.KerasTensor, filters: int, *, name: str) -> keras.KerasTensor:
    """Concatenates each pixel with the maxima of the 5, 9 and 13 pixels around it (SPPF)."""
    parts = [conv_norm_silu(features, filters // 2, 1, name=f"{name}_in")]
    for index in range(3):
        parts.append(layers.MaxPooling2D(5, strides=1, padding="same", name=f"{name}_pool_{index + 1}")(parts[-1]))
    return conv_norm_silu(layers.Concatenate(name=f"{name}_parts")(parts), filters, 1, name=f"{name}_out")


def csp_features(pixels: keras.KerasTensor, *, width: int, depth: int) -> Features:
    """Builds the stages of the backbone.

    Args:
        pixels: scaled, float [B, H, W, 3].
        width: channels of the first stage; the next have 2, 4, 8 and 16 times as many. YOLOv8n has 16.
        depth: bottlenecks of the short blocks; the two in the middle have twice as many. YOLOv8n has 1.

    Returns:
        Stride to feature map: {8: [B, H/8, W/8, 4 * width], 16: ..., 32: ...}.
    """
    features = conv_norm_silu(pixels, width, 3, stride=2, name="stem")
    stages: Features = {}
    for index, repeats in enumerate((depth, 2 * depth, 2 * depth, depth)):
        filters, name = width * 2 ** (index + 1), f"stage{index + 1}"
        features = conv_norm_silu(features, filters, 3, stride=2, name=f"{name}_down")
        features = csp_block(features, filters, repeats, name=f"{name}_csp")
        stages[4 * 2**index] = features
    stages[32] = pyramid_pooling(stages[32], 16 * width, name="pooling")
    del stages[4]
    return stages


def csp(images: keras.KerasTensor, *, weights: str | None = None, width: int = 16, depth: int = 1) -> Features:
    """Builds the backbone of `yolo` on images. Arguments are those of `csp_features` and `backbone_features`."""
    check_whole("backbone csp", width=(width, 4), depth=(depth, 1))
    return fill_backbone("csp", images, csp_features(pixel_range(images, "unit"), width=width, depth=depth), weights)


_PAPER = Paper("CSPNet: A New Backbone that can Enhance Learning Capability of CNN", "Wang et al.", 2019, "1911.11929")
register_backbone(Backbone("csp", csp, "cross-stage partial blocks, as in YOLOv8n", _PAPER, parameters=1_529_656))
