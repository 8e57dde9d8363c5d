"""Builds VGG16's convolutions (Simonyan & Zisserman 2014, arXiv 1409.1556), to train or with Keras's weights."""

from __future__ import annotations

from functools import partial

import keras
from keras import layers

from cvserve.errors import InvalidInput
from cvserve.models.backbones.applications import APPLICATIONS, application_backbone, application_features
from cvserve.models.backbones.registry import Backbone, register_backbone
from cvserve.models.backbones.weights import Features, fill_backbone
from cvserve.models.layers import pixel_range
from cvserve.models.layers.convolution import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM
from cvserve.models.options import check_output_stride, check_whole

_BLOCKS = (2, 2, 3, 3, 3)


def vgg_features(pixels: keras.KerasTensor, *, width: int, normalized: bool, output_stride: int = 32) -> Features:
    """Builds the convolutions, and returns the last convolution of each block and the last pooling.

    Pooling rounds up, as in Caffe: 300 pixels become 150, 75, 38, 19. Layers are called as in
    keras.applications.VGG16, and with a width of 64 its weights fit.

    Args:
        pixels: scaled, float [B, H, W, 3].
        width: channels of the first block; the next have 2, 4, 8 and 8 times as many.
        normalized: whether batch normalisation follows each convolution. Without it nothing this deep trains from
            scratch.
        output_stride: beyond which nothing is pooled any more: each pooling that is left out doubles the dilation of
            all convolutions behind it, so that the same weights see as far (Yu & Koltun 2015, section 4).

    Returns:
        Stride to feature map: {1: [B, H, W, width], 2: ..., 4: ..., 8: conv4_3, 16: conv5_3, 32: pool5}, the last one
        of each stride up to `output_stride`.
    """
    features, stages = pixels, {}
    stride = dilation = 1
    for block, count in enumerate(_BLOCKS):
        filters = width * min(2**block, 8)
        if block and stride < output_stride:
            features = layers.MaxPooling2D(2, padding="same", name=f"block{block}_pool")(features)
            stride *= 2
        elif block:
            dilation *= 2
        for index in range(count):
            features = conv_maybe_norm_relu(
                features,
                filters,
                3,
                normalized=normalized,
                dilation=dilation,
                name=f"block{block + 1}_conv{index + 1}",
            )
        stages[stride] = features
    if stride < output_stride:
        stages[2 * stride] = layers.MaxPooling2D(2, padding="same", name="block5_pool")(features)
    return stages


def conv_maybe_norm_relu(
    features: keras.KerasTensor,
    filters: int,
    kernel_size: int,
    *,
    normalized: bool,
    stride: int = 1,
    dilation: int = 1,
    padding: str = "same",
    name: str,
) -> keras.KerasTensor:
    """Applies a convolution, batch normalisation if asked for, and ReLU.

    The convolution has a bias in any case, so that weights of networks without normalisation fit.
    """
    features = layers.Conv2D(
        filters,
        kernel_size,
        strides=stride,
        dilation_rate=dilation,
        padding=padding,
        kernel_initializer="he_normal",
        name=name,
    )(features)
    if normalized:
        features = layers.BatchNormalization(
            momentum=BATCH_NORM_MOMENTUM, epsilon=BATCH_NORM_EPSILON, name=f"{name}_norm"
        )(features)
    return layers.ReLU(name=f"{name}_relu")(features)


def vgg16(
    images: keras.KerasTensor,
    *,
    weights: str | None = None,
    width: int = 64,
    normalized: bool = True,
    output_stride: int = 32,
) -> Features:
    """Builds the backbone on images. Arguments are those of `vgg_features` and `backbone_features`."""
    check_whole("backbone vgg16", width=(width, 4))
    check_output_stride("backbone vgg16", output_stride)
    features = vgg_features(
        pixel_range(images, "caffe"), width=width, normalized=bool(normalized), output_stride=output_stride
    )
    if weights != "imagenet":
        return fill_backbone("vgg16", images, features, weights)
    if width != 64:
        raise InvalidInput("the imagenet weights of vgg16 are those of a width of 64")
    network = keras.Model(images, list(features.values()))
    pretrained = application_backbone("vgg16", (*images.shape[1:3], 3), weights=weights)
    for layer in pretrained.layers:
        if layer.weights:
            network.get_layer(layer.name).set_weights(layer.get_weights())
    return features


register_backbone(
    Backbone(
        "vgg16",
        vgg16,
        "VGG16; the classifier is keras.applications.VGG16, the backbone has normalisation and any width",
        APPLICATIONS["vgg16"].paper,
        parameters=APPLICATIONS["vgg16"].parameters,
        last=partial(application_features, "vgg16"),
    )
)
