"""unet: an encoder, and a decoder that joins the encoder's maps (Ronneberger et al. 2015, arXiv 1505.04597)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import keras
from keras import layers

from cvserve.errors import InvalidInput
from cvserve.models.backbones import Features
from cvserve.models.backbones.encoder import encoder_features
from cvserve.models.backbones.weights import fill_network
from cvserve.models.layers import BilinearKernel, NearestUnpooling, conv_norm_relu
from cvserve.models.options import check_choice, check_fraction, check_sides, check_whole
from cvserve.models.registry import ModelEntry, Paper, register
from cvserve.models.segmentation.head import class_scores
from cvserve.models.segmentation.segmenter import Segmenter, segmenter

Upsampling = Literal["nearest", "transposed"]


def unet(
    *,
    num_classes: int,
    image_size: tuple[int, int],
    weights: str | None = None,
    backbone: str = "resnet18",
    backbone_options: Mapping[str, Any] | None = None,
    width: int = 24,
    depth: int = 1,
    finest: int = 2,
    upsampling: Upsampling = "nearest",
    dropout: float = 0.1,
) -> Segmenter:
    """Builds the network.

    Args:
        image_size: (height, width), multiples of 32.
        weights: "imagenet" (backbones of keras.applications, vgg16), a file, or None.
        backbone, backbone_options: of `encoder_features`. The paper's encoder is much like vgg16 with finest = 1.
        width: channels of the decoder at the stride `finest`; each coarser step has twice as many.
        depth: convolutions of a step of the decoder; 2 in the paper.
        finest: stride in pixels, 1, 2 or 4, at which classes are predicted; from there they are interpolated. A step at
            half the stride costs as much as all before. Where the backbone has no map of a stride, as the ResNets have
            none of 2, a convolution of the pixels takes its place.
        upsampling: "nearest" copies pixels, "transposed" learns to, beginning with bilinear interpolation.
        dropout: of whole channels before the scores.

    Raises:
        InvalidInput: a size or option that it cannot have.
    """
    check_sides("unet", image_size, 32)
    check_whole("unet", width=(width, 4), depth=(depth, 1))
    check_choice("unet", upsampling=(upsampling, get_args(Upsampling)))
    check_fraction("unet", dropout=dropout)
    if finest not in (1, 2, 4):
        raise InvalidInput(f"unet predicts classes at a finest stride of 1, 2 or 4 pixels, not {finest!r}")
    images = keras.Input((*image_size, 3), dtype="uint8", name="images")
    stages = encoder_features(images, backbone, backbone_options, weights)
    if max(stages, default=0) <= finest:
        raise InvalidInput(f"backbone {backbone} has no feature map that is coarser than finest = {finest}")
    stages = _with_details(images, stages, finest, width)

    stride = max(stages)
    features = stages[stride]
    while stride > finest:
        stride //= 2
        channels = width * stride // finest
        features = _enlarged(features, upsampling, name=f"decoder_{stride}_up")
        if stride in stages:
            features = layers.Concatenate(name=f"decoder_{stride}_join")([features, stages[stride]])
        for index in range(depth):
            features = conv_norm_relu(features, channels, 3, name=f"decoder_{stride}_{index + 1}")
    if dropout:
        features = layers.SpatialDropout2D(dropout, name="dropout")(features)
    network = segmenter(images, class_scores(features, num_classes, finest), name="unet")
    fill_network(network.network, weights, has_backbone=True)
    return network


def _with_details(images: keras.KerasTensor, stages: Features, finest: int, width: int) -> Features:
    """Adds maps of the strides from `finest` to below the backbone's own, made from the pixels directly."""
    own = min(stages)
    if own <= finest:
        return stages
    features = layers.Rescaling(1 / 127.5, offset=-1.0, name="detail_pixels")(images)
    maps: Features = {}
    stride = 1
    if finest == 1:
        features = maps[1] = conv_norm_relu(features, width, 3, name="detail_1")
    while 2 * stride < own:
        stride *= 2
        channels = max(width, width * stride // finest)
        features = conv_norm_relu(features, channels, 3, stride=2, name=f"detail_{stride}")
        if stride >= finest:
            maps[stride] = features
    return {**maps, **stages}


def _enlarged(features: keras.KerasTensor, upsampling: Upsampling, *, name: str) -> keras.KerasTensor:
    if upsampling == "nearest":
        return NearestUnpooling(2, name=name)(features)
    return layers.Conv2DTranspose(
        features.shape[-1], 4, strides=2, padding="same", kernel_initializer=BilinearKernel(), name=name
    )(features)


register(
    ModelEntry(
        "segmentation",
        "unet",
        unet,
        256,
        "encoder and decoder with concatenated skips",
        Paper(
            "U-Net: Convolutional Networks for Biomedical Image Segmentation", "Ronneberger et al.", 2015, "1505.04597"
        ),
        parameters=3_759_109,
    )
)
