"""deeplabv3 and deeplabv3plus: few strides, dilated convolutions, a pyramid of distances (Chen et al. 2017, 2018)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import layers

from cvserve.errors import InvalidInput
from cvserve.models.backbones.encoder import dilated_features
from cvserve.models.backbones.weights import fill_network
from cvserve.models.layers import conv_norm_relu
from cvserve.models.options import check_fraction, check_sides, check_whole, check_whole_numbers
from cvserve.models.registry import ModelEntry, Paper, register
from cvserve.models.segmentation.aspp import spatial_pyramid
from cvserve.models.segmentation.head import class_scores, enlarge
from cvserve.models.segmentation.segmenter import Segmenter, segmenter

DECODER_STRIDE = 4


def deeplab(
    *,
    num_classes: int,
    image_size: tuple[int, int],
    weights: str | None = None,
    has_decoder: bool,
    backbone: str = "resnet18",
    backbone_options: Mapping[str, Any] | None = None,
    output_stride: int = 16,
    channels: int = 128,
    rates: Sequence[int] = (3, 6, 9),
    low_channels: int = 24,
    dropout: float = 0.1,
) -> Segmenter:
    """Builds the network.

    Args:
        image_size: (height, width), multiples of 32.
        weights: "imagenet" (vgg16 with a width of 64), a file, or None.
        has_decoder: v3+ joins the pyramid's output with the backbone's map of stride 4 and convolves both (arXiv
            1802.02611); v3 only interpolates.
        backbone, backbone_options: of `dilated_features`: resnet18, resnet34 or vgg16.
        output_stride: 16 or 8, of the backbone's last map.
        channels: of pyramid and decoder; 256 in the paper.
        rates: dilations of the pyramid at stride 16, doubled at 8. The paper's (6, 12, 18) suit images of 513 pixels;
            more than half the map sees nothing but its border.
        low_channels: of the map of stride 4 in the decoder; 48 in the paper.
        dropout: before the scores.

    Raises:
        InvalidInput: a size or option that it cannot have.
    """
    name = "deeplabv3plus" if has_decoder else "deeplabv3"
    check_sides(name, image_size, 32)
    check_whole(name, channels=(channels, 4), low_channels=(low_channels, 4))
    check_whole_numbers(name, rates=rates)
    check_fraction(name, dropout=dropout)
    if output_stride not in (8, 16):
        raise InvalidInput(f"{name} has an output_stride of 16 or 8, not {output_stride!r}")
    images = keras.Input((*image_size, 3), dtype="uint8", name="images")
    stages = dilated_features(
        name, images, backbone, backbone_options, weights, strides=(DECODER_STRIDE, output_stride)
    )
    features = spatial_pyramid(
        stages[output_stride], channels=channels, rates=[rate * 16 // output_stride for rate in rates]
    )
    stride = output_stride
    if has_decoder:
        low = conv_norm_relu(stages[DECODER_STRIDE], low_channels, 1, name="decoder_low")
        features = enlarge(features, stride // DECODER_STRIDE, name="decoder_up")
        features = layers.Concatenate(name="decoder_join")([features, low])
        for index in (1, 2):
            features = conv_norm_relu(features, channels, 3, name=f"decoder_{index}")
        stride = DECODER_STRIDE
    if dropout:
        features = layers.Dropout(dropout, name="dropout")(features)
    network = segmenter(images, class_scores(features, num_classes, stride), name=name)
    fill_network(network.network, weights, has_backbone=True)
    return network


def deeplabv3(**options: Any) -> Segmenter:
    """Builds `deeplab` without a decoder."""
    return deeplab(has_decoder=False, **options)


def deeplabv3plus(**options: Any) -> Segmenter:
    """Builds `deeplab` with its decoder."""
    return deeplab(has_decoder=True, **options)


register(
    ModelEntry(
        "segmentation",
        "deeplabv3",
        deeplabv3,
        256,
        "dilated backbone, spatial pyramid pooling",
        Paper("Rethinking Atrous Convolution for Semantic Image Segmentation", "Chen et al.", 2017, "1706.05587"),
        parameters=3_838_021,
    )
)
register(
    ModelEntry(
        "segmentation",
        "deeplabv3plus",
        deeplabv3plus,
        256,
        "deeplabv3 with a decoder at stride 4",
        Paper(
            "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation",
            "Chen et al.",
            2018,
            "1802.02611",
        ),
        parameters=4_161_909,
    )
)
