"""deconvnet: encodes to one vector, decodes by unpooling and transposed convolutions (Noh et al. 2015, 1505.04366)."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from cvserve.errors import InvalidInput
from cvserve.models.backbones.weights import fill_network
from cvserve.models.layers import (
    MaxPoolingWithSwitches,
    MaxUnpooling,
    conv_norm_relu,
    pixel_range,
)
from cvserve.models.layers.convolution import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM
from cvserve.models.options import check_sides, check_whole, check_whole_numbers
from cvserve.models.registry import ModelEntry, Paper, register
from cvserve.models.segmentation.head import class_scores
from cvserve.models.segmentation.segmenter import Segmenter, segmenter
from cvserve.models.segmentation.segnet import VGG16_BLOCKS


def deconvnet(
    *,
    num_classes: int,
    image_size: tuple[int, int],
    weights: str | None = None,
    width: int = 16,
    hidden: int = 256,
    blocks: Sequence[int] = VGG16_BLOCKS,
) -> Segmenter:
    """Builds the network.

    The paper's 7x7 maps of stride 32 become one vector of 4096 and are made again from it; here that 7x7 convolution
    and its transpose are padded, so that images of any size go through, and 224 x 224 see the same.

    Args:
        image_size: (height, width), multiples of 32.
        weights: a file, or None.
        width: channels of the first block, 64 in the paper; the next have 2, 4, 8 and 8 times as many.
        hidden: channels of the two layers in the middle, 4096 in the paper.
        blocks: convolutions of each block, up to five, and as many transposed ones. Each is normalised.

    Raises:
        InvalidInput: a size or option that it cannot have.
    """
    check_sides("deconvnet", image_size, 32)
    check_whole("deconvnet", width=(width, 4), hidden=(hidden, 8))
    check_whole_numbers("deconvnet", blocks=blocks)
    if len(blocks) > 5:
        raise InvalidInput(f"deconvnet has up to five blocks, not {len(blocks)}")
    images = keras.Input((*image_size, 3), dtype="uint8", name="images")
    features = pixel_range(images, "symmetric")
    channels = [width * min(2**index, 8) for index in range(len(blocks))]
    remembered = []
    for index, count in enumerate(blocks):
        for step in range(count):
            features = conv_norm_relu(features, channels[index], 3, name=f"encoder_{index + 1}_{step + 1}")
        features, switches = MaxPoolingWithSwitches(name=f"encoder_{index + 1}_pool")(features)
        remembered.append(switches)
    features = conv_norm_relu(features, hidden, 7, name="fc6")
    features = conv_norm_relu(features, hidden, 1, name="fc7")
    features = _deconv_norm_relu(features, channels[-1], 7, name="fc6_back")
    for index in reversed(range(len(blocks))):
        features = MaxUnpooling(name=f"decoder_{index + 1}_unpool")(features, remembered[index])
        for step in range(blocks[index]):
            is_last = step == blocks[index] - 1
            filters = channels[max(index - 1, 0)] if is_last else channels[index]
            features = _deconv_norm_relu(features, filters, 3, name=f"decoder_{index + 1}_{step + 1}")
    network = segmenter(images, class_scores(features, num_classes, 1), name="deconvnet")
    fill_network(network.network, weights, has_backbone=False)
    return network


def _deconv_norm_relu(features: keras.KerasTensor, filters: int, kernel_size: int, *, name: str) -> keras.KerasTensor:
    features = layers.Conv2DTranspose(
        filters, kernel_size, padding="same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_deconv"
    )(features)
    features = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, epsilon=BATCH_NORM_EPSILON, name=f"{name}_norm")(
        features
    )
    return layers.ReLU(name=f"{name}_relu")(features)


register(
    ModelEntry(
        "segmentation",
        "deconvnet",
        deconvnet,
        256,
        "down to stride 32 and back, max unpooling and transposed convolutions",
        Paper("Learning Deconvolution Network for Semantic Segmentation", "Noh et al.", 2015, "1505.04366"),
        parameters=5_123_765,
    )
)
