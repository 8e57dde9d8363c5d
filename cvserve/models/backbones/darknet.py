"""Builds the convolutions of YOLOv1 (Redmon et al. 2015, arXiv 1506.02640, figure 3), with batch normalisation."""

from __future__ import annotations

import keras
from keras import layers

from cvserve.models.backbones.registry import Backbone, register_backbone
from cvserve.models.backbones.weights import Features, fill_backbone
from cvserve.models.layers import pixel_range
from cvserve.models.layers.convolution import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM
from cvserve.models.options import check_whole
from cvserve.models.registry import Paper

LEAK = 0.1
"""Slope of the leaky ReLU below 0, equation 2 of the paper."""

# Kernel size and channels, in units of the width (64 in the paper): one tuple for each stride 4, 8, 16, 32, 64.
_STAGES: tuple[tuple[tuple[int, int], ...], ...] = (
    ((3, 3),),
    ((1, 2), (3, 4), (1, 4), (3, 8)),
    ((1, 4), (3, 8)) * 4 + ((1, 8), (3, 16)),
    ((1, 8), (3, 16)) * 2 + ((3, 16),),
    ((3, 16), (3, 16)),
)


def conv_norm_leaky(
    features: keras.KerasTensor, filters: int, kernel_size: int, *, stride: int = 1, name: str
) -> keras.KerasTensor:
    """Applies a convolution without bias, batch normalisation and leaky ReLU.

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
    return layers.LeakyReLU(negative_slope=LEAK, name=f"{name}_leaky")(features)


def darknet_features(pixels: keras.KerasTensor, *, width: int) -> Features:
    """Builds the 24 convolutions of the paper.

    Args:
        pixels: scaled, float [B, H, W, 3].
        width: channels of the first convolution; the paper has 64, and 16 times as many in the end.

    Returns:
        Stride to feature map: {4: [B, H/4, W/4, 3 * width], 8: ..., 16: ..., 32: ..., 64: [..., 16 * width]}.
    """
    features = conv_norm_leaky(pixels, width, 7, stride=2, name="stem")
    stages: Features = {}
    for index, convolutions in enumerate(_STAGES):
        # The first four strides are taken by pooling, the last by the convolution that ends stage 4 in the paper.
        if index < 4:
            features = layers.MaxPooling2D(2, padding="same", name=f"stage{index + 1}_pool")(features)
        else:
            features = conv_norm_leaky(features, 16 * width, 3, stride=2, name=f"stage{index + 1}_down")
        for number, (kernel_size, channels) in enumerate(convolutions, start=1):
            features = conv_norm_leaky(features, channels * width, kernel_size, name=f"stage{index + 1}_{number}")
        stages[4 * 2**index] = features
    return stages


def darknet(images: keras.KerasTensor, *, weights: str | None = None, width: int = 64) -> Features:
    """Builds the backbone of `yolov1` on images. Arguments are those of `darknet_features` and `backbone_features`."""
    check_whole("backbone darknet", width=(width, 4))
    return fill_backbone("darknet", images, darknet_features(pixel_range(images, "symmetric"), width=width), weights)


PAPER = Paper("You Only Look Once: Unified, Real-Time Object Detection", "Redmon et al.", 2015, "1506.02640")
register_backbone(Backbone("darknet", darknet, "the 24 convolutions of YOLOv1", PAPER, parameters=61_194_152))
