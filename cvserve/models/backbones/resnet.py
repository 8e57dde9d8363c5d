"""Builds residual networks (He et al. 2015, arXiv 1512.03385) of basic blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import keras
from keras import layers, ops

from cvserve.errors import InvalidInput
from cvserve.models.backbones.registry import Backbone, register_backbone
from cvserve.models.backbones.weights import Features, fill_backbone
from cvserve.models.layers import conv_norm_relu, pixel_range
from cvserve.models.options import check_output_stride
from cvserve.models.registry import Paper

Stem = Literal["conv7", "deep", "cifar"]
Shortcut = Literal["projection", "pooled", "padded"]

RESNETS: dict[str, tuple[int, ...]] = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
"""Blocks of each stage of the networks for photos (the paper's table 1)."""
PAPER = Paper("Deep Residual Learning for Image Recognition", "He et al.", 2015, "1512.03385")


def check_resnet_options(name: str, *, width: Any, stem: Any, shortcut: Any) -> None:
    """Checks options of `resnet_features`. name: of the network, for the message of InvalidInput."""
    if not isinstance(width, int) or width < 2:
        raise InvalidInput(f"{name} needs a width of at least 2 channels, a whole number, not {width!r}")
    for option, value, known in (("stem", stem, get_args(Stem)), ("shortcut", shortcut, get_args(Shortcut))):
        if value not in known:
            raise InvalidInput(f"{name} has no {option} {value!r}; known: {', '.join(known)}")


def resnet_features(
    features: keras.KerasTensor,
    *,
    blocks: tuple[int, ...],
    width: int,
    stem: Stem,
    shortcut: Shortcut,
    output_stride: int = 32,
) -> Features:
    """Builds the stages of a residual network.

    Args:
        features: scaled pixels, float [B, H, W, 3].
        blocks: basic blocks of each stage.
        width: channels of the first stage; each further one has twice as many.
        stem: "conv7" is one 7x7/2 convolution and a 3x3/2 max pooling; "deep" has three 3x3 convolutions instead of
            the 7x7 (He et al. 2018, arXiv 1812.01187, ResNet-C: better and cheaper on small images); "cifar" is one
            3x3 convolution without any stride.
        shortcut: where the shape changes: "projection" is a strided 1x1 convolution (option B of the paper);
            "pooled" averages 2x2 before it, so that no pixel is thrown away (ResNet-D); "padded" subsamples and fills
            the new channels with zeros, without parameters (option A, the paper's choice for CIFAR).
        output_stride: beyond which nothing shrinks any more: later stages dilate their convolutions instead, so that
            they see as much with more pixels (Chen et al. 2017, arXiv 1706.05587, section 3.1).

    Returns:
        Stride to feature map, the last of each: {4: [B, H/4, W/4, width], 8: ..., ...} ({1: ...} onwards for "cifar").
    """
    stride = 1
    if stem == "conv7":
        features = conv_norm_relu(features, width, 7, stride=2, name="stem")
    elif stem == "deep":
        features = conv_norm_relu(features, width // 2, 3, stride=2, name="stem_1")
        features = conv_norm_relu(features, width // 2, 3, name="stem_2")
        features = conv_norm_relu(features, width, 3, name="stem_3")
    else:
        features = conv_norm_relu(features, width, 3, name="stem")
    if stem != "cifar":
        features = layers.MaxPooling2D(3, strides=2, padding="same", name="stem_pool")(features)
        stride = 4

    stages: Features = {}
    dilation = 1
    for stage, count in enumerate(blocks):
        for block in range(count):
            shrink = 2 if stage > 0 and block == 0 else 1
            dilations = (dilation, dilation)
            if shrink > 1 and stride >= output_stride:
                # The first convolution of the stage still reads pixels as far apart as the stage before wrote them.
                shrink, dilations = 1, (dilation, 2 * dilation)
                dilation *= 2
            stride *= shrink
            features = _basic_block(
                features,
                width * 2**stage,
                stride=shrink,
                dilations=dilations,
                shortcut=shortcut,
                name=f"stage{stage + 1}_block{block + 1}",
            )
        stages[stride] = features
    return stages


def _basic_block(
    features: keras.KerasTensor,
    filters: int,
    *,
    stride: int,
    dilations: tuple[int, int],
    shortcut: Shortcut,
    name: str,
) -> keras.KerasTensor:
    residual = conv_norm_relu(features, filters, 3, stride=stride, dilation=dilations[0], name=f"{name}_1")
    residual = conv_norm_relu(
        residual, filters, 3, dilation=dilations[1], activation=False, zero_scale=True, name=f"{name}_2"
    )
    if stride > 1 or features.shape[-1] != filters:
        features = _shortcut(features, filters, stride, shortcut, name=f"{name}_shortcut")
    return layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_add")([features, residual]))


def _shortcut(
    features: keras.KerasTensor, filters: int, stride: int, shortcut: Shortcut, *, name: str
) -> keras.KerasTensor:
    if shortcut == "padded":
        if stride > 1:
            features = features[:, ::stride, ::stride, :]
        missing = filters - features.shape[-1]
        return ops.pad(features, [[0, 0], [0, 0], [0, 0], [missing // 2, missing - missing // 2]])
    if shortcut == "pooled" and stride > 1:
        features = layers.AveragePooling2D(stride, strides=stride, padding="same", name=f"{name}_pool")(features)
        stride = 1
    return conv_norm_relu(features, filters, 1, stride=stride, activation=False, name=name)


def _resnet(name: str) -> Callable[..., Features]:
    def build(
        images: keras.KerasTensor,
        *,
        weights: str | None = None,
        width: int = 64,
        stem: Stem = "conv7",
        shortcut: Shortcut = "projection",
        output_stride: int = 32,
    ) -> Features:
        check_resnet_options(f"backbone {name}", width=width, stem=stem, shortcut=shortcut)
        check_output_stride(f"backbone {name}", output_stride)
        features = resnet_features(
            pixel_range(images, "symmetric"),
            blocks=RESNETS[name],
            width=width,
            stem=stem,
            shortcut=shortcut,
            output_stride=output_stride,
        )
        return fill_backbone(name, images, features, weights)

    return build


def resnet20(images: keras.KerasTensor, *, weights: str | None = None, width: int = 16) -> Features:
    """Builds the CIFAR ResNet-20 (the paper's section 4.2): three stages of three blocks, shortcuts without parameters.

    Returns:
        Stride to feature map: {1: [B, H, W, width], 2: ..., 4: ...}.
    """
    check_resnet_options("backbone resnet20", width=width, stem="cifar", shortcut="padded")
    features = resnet_features(
        pixel_range(images, "symmetric"), blocks=(3, 3, 3), width=width, stem="cifar", shortcut="padded"
    )
    return fill_backbone("resnet20", images, features, weights)


register_backbone(Backbone("resnet18", _resnet("resnet18"), "ResNet-18", PAPER, parameters=11_689_512))
register_backbone(Backbone("resnet34", _resnet("resnet34"), "ResNet-34", PAPER, parameters=21_797_672))
register_backbone(Backbone("resnet20", resnet20, "CIFAR ResNet-20", PAPER, image_size=32, parameters=334_072))
