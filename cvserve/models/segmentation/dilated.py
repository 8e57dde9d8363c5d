"""dilated: VGG16 without its last two poolings, and the context module behind it (Yu & Koltun 2015, 1511.07122)."""

from __future__ import annotations

from typing import Literal, get_args

import keras
from keras import layers

from cvserve.models.backbones.vgg import conv_maybe_norm_relu
from cvserve.models.backbones.weights import fill_network
from cvserve.models.layers import conv_norm_relu, pixel_range
from cvserve.models.options import check_choice, check_share, check_sides, check_whole
from cvserve.models.segmentation.context_module import context_module
from cvserve.models.segmentation.head import enlarge
from cvserve.models.segmentation.segmenter import Segmenter, register_segmenter, segmenter

Context = Literal["basic", "large", "none"]

# Convolutions and dilation of VGG16's blocks. Poolings follow the first three: where the other two were, convolutions
# have become dilated by 2 and by 4.
_BLOCKS = ((2, 1), (2, 1), (3, 1), (3, 1), (3, 2))
_POOLED = 3
STRIDE = 2**_POOLED

FIRST_SCORE = 4.0
"""What is added to every class's score at the start of a training, which no softmax sees. The context module's ReLUs
stop what is negative: a class whose scores begin there would have no gradient, and might never be learned. (The paper
trains the front end first, by itself.) A class can still end there in the course of a training, in the module's own
layers."""


def dilated(
    *,
    num_classes: int,
    image_size: tuple[int, int],
    weights: str | None = None,
    width: int = 16,
    hidden: int = 128,
    context: Context = "basic",
    dropout: float = 0.1,
) -> Segmenter:
    """Builds the network.

    Args:
        image_size: (height, width), multiples of 32.
        weights: a file (also of a vgg16 of the same width), or None.
        width: channels of the first block, 64 in VGG16.
        hidden: channels of the two layers that were the classifier's dense ones; 4096 in the paper.
        context: form of the context module, or "none" for the front end alone.
        dropout: after each of the hidden layers; 0.5 in the paper.

    Raises:
        InvalidInput: a size or option that it cannot have.
    """
    check_sides("dilated", image_size, 32)
    check_whole("dilated", width=(width, 4), hidden=(hidden, 8))
    check_choice("dilated", context=(context, get_args(Context)))
    check_share("dilated", dropout=dropout)
    images = keras.Input((*image_size, 3), dtype="uint8", name="images")
    features = pixel_range(images, "caffe")
    for block, (count, dilation) in enumerate(_BLOCKS, start=1):
        for index in range(count):
            features = conv_maybe_norm_relu(
                features,
                width * min(2 ** (block - 1), 8),
                3,
                normalised=True,
                dilation=dilation,
                name=f"block{block}_conv{index + 1}",
            )
        if block <= _POOLED:
            features = layers.MaxPooling2D(2, name=f"block{block}_pool")(features)
    for index, (kernel_size, dilation) in ((6, (7, 4)), (7, (1, 1))):
        features = conv_norm_relu(features, hidden, kernel_size, dilation=dilation, name=f"fc{index}")
        if dropout:
            features = layers.Dropout(dropout, name=f"fc{index}_dropout")(features)
    scores = layers.Conv2D(
        num_classes,
        1,
        kernel_initializer="he_normal",
        bias_initializer=keras.initializers.Constant(0.0 if context == "none" else FIRST_SCORE),
        dtype="float32",
        name="scores",
    )(features)
    if context != "none":
        scores = context_module(scores, context)
    network = segmenter(images, enlarge(scores, STRIDE, name="scores_enlarged"), name="dilated")
    fill_network(network.network, weights, has_backbone=False)
    return network


register_segmenter("dilated", dilated, 256, "VGG16 dilated from stride 8 on, context module")
