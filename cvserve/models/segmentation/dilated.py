"""dilated: a backbone dilated from stride 8 on, with a context module (Yu & Koltun 2015, arXiv 1511.07122)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import keras
from keras import layers

from cvserve.errors import InvalidInput
from cvserve.models.backbones.encoder import dilated_features
from cvserve.models.backbones.weights import fill_network
from cvserve.models.layers import conv_norm_relu
from cvserve.models.options import check_choice, check_fraction, check_sides, check_whole
from cvserve.models.registry import ModelEntry, Paper, register
from cvserve.models.segmentation.context_module import context_module
from cvserve.models.segmentation.head import class_scores
from cvserve.models.segmentation.segmenter import Segmenter, segmenter

Context = Literal["basic", "large", "none"]
STRIDE = 8
HIDDEN = 128
CHANNELS: dict[Context, int] = {"basic": 64, "large": 16, "none": 64}


def dilated(
    *,
    num_classes: int,
    image_size: tuple[int, int],
    weights: str | None = None,
    backbone: str = "resnet18",
    backbone_options: Mapping[str, Any] | None = None,
    hidden: int | None = None,
    context: Context = "basic",
    channels: int | None = None,
    dropout: float = 0.1,
) -> Segmenter:
    """Builds the network.

    It differs from the paper's so that it can be trained from scratch and end to end. Unless the paper's vgg16 is asked
    for, the backbone has shortcuts, as in Dilated Residual Networks (Yu et al. 2017, arXiv 1705.09914): through plain
    dilated convolutions small things are learned very late. And the context module works on features, from which class
    scores are made behind it, not on the scores: its ReLUs stop what is negative, and a class whose scores once sank
    below zero would have no gradient any more. Features are not negative, so that a new module passes on all of them.

    Args:
        image_size: (height, width), multiples of 32.
        weights: "imagenet" (vgg16 with a width of 64), a file, or None.
        backbone, backbone_options: of `dilated_features`: resnet18, resnet34 or vgg16.
        hidden: with vgg16 only, channels of the two layers that were the classifier's dense ones, a 7x7 convolution
            dilated by 4 and a 1x1 one; 128 by default, 4096 in the paper.
        context: form of the context module, or "none" for the front end alone.
        channels: that the context module gets and gives (the classes in the paper); by default 64 for "basic", and 16
            for "large", which has up to 32 times as many inside (4 million weights; with 64 there would be 63).
        dropout: after each of the hidden layers, or on the backbone's last map; 0.5 in the paper.

    Raises:
        InvalidInput: a size or option that it cannot have.
    """
    check_sides("dilated", image_size, 32)
    check_choice("dilated", context=(context, get_args(Context)))
    check_fraction("dilated", dropout=dropout)
    if hidden is not None and backbone != "vgg16":
        raise InvalidInput(f"dilated has hidden layers behind vgg16 only, not behind {backbone}")
    hidden = HIDDEN if hidden is None else hidden
    channels = CHANNELS[context] if channels is None else channels
    check_whole("dilated", hidden=(hidden, 8), channels=(channels, 4))
    images = keras.Input((*image_size, 3), dtype="uint8", name="images")
    features = dilated_features("dilated", images, backbone, backbone_options, weights, strides=(STRIDE,))[STRIDE]
    if backbone == "vgg16":
        for index, kernel_size, dilation in ((6, 7, 4), (7, 1, 1)):
            features = conv_norm_relu(features, hidden, kernel_size, dilation=dilation, name=f"fc{index}")
            if dropout:
                features = layers.Dropout(dropout, name=f"fc{index}_dropout")(features)
    elif dropout:
        features = layers.Dropout(dropout, name="dropout")(features)
    if context != "none":
        features = conv_norm_relu(features, channels, 1, name="reduced")
        features = context_module(features, context)
    network = segmenter(images, class_scores(features, num_classes, STRIDE), name="dilated")
    fill_network(network.network, weights, has_backbone=True)
    return network


register(
    ModelEntry(
        "segmentation",
        "dilated",
        dilated,
        256,
        "backbone dilated from stride 8 on, context module",
        Paper("Multi-Scale Context Aggregation by Dilated Convolutions", "Yu & Koltun", 2015, "1511.07122"),
        parameters=3_082_117,
    )
)
