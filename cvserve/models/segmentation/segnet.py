"""segnet: VGG16 and its mirror image, joined by the switches of the pooling (Badrinarayanan et al., 1511.00561)."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from cvserve.errors import InvalidInput
from cvserve.models.backbones.weights import fill_network
from cvserve.models.layers import MaxPoolingWithSwitches, MaxUnpooling, conv_norm_relu, pixel_range
from cvserve.models.options import check_sides, check_whole, check_whole_numbers
from cvserve.models.registry import ModelEntry, Paper, register
from cvserve.models.segmentation.head import class_scores
from cvserve.models.segmentation.segmenter import Segmenter, segmenter

VGG16_BLOCKS = (2, 2, 3, 3, 3)


def segnet(
    *,
    num_classes: int,
    image_size: tuple[int, int],
    weights: str | None = None,
    width: int = 16,
    blocks: Sequence[int] = VGG16_BLOCKS,
) -> Segmenter:
    """Builds the network.

    Args:
        image_size: (height, width), multiples of 32.
        weights: a file, or None.
        width: channels of the first block, 64 in the paper; the next have 2, 4, 8 and 8 times as many.
        blocks: convolutions of each block, up to five; the decoder has as many. Each is normalised.

    Raises:
        InvalidInput: a size or option that it cannot have.
    """
    check_sides("segnet", image_size, 32)
    check_whole("segnet", width=(width, 4))
    check_whole_numbers("segnet", blocks=blocks)
    if len(blocks) > 5:
        raise InvalidInput(f"segnet has up to five blocks, not {len(blocks)}")
    images = keras.Input((*image_size, 3), dtype="uint8", name="images")
    features = pixel_range(images, "symmetric")
    channels = [width * min(2**index, 8) for index in range(len(blocks))]
    remembered = []
    for index, count in enumerate(blocks):
        for step in range(count):
            features = conv_norm_relu(features, channels[index], 3, name=f"encoder_{index + 1}_{step + 1}")
        features, switches = MaxPoolingWithSwitches(name=f"encoder_{index + 1}_pool")(features)
        remembered.append(switches)
    for index in reversed(range(len(blocks))):
        features = MaxUnpooling(name=f"decoder_{index + 1}_unpool")(features, remembered[index])
        for step in range(blocks[index]):
            # The last convolution of a block has as many channels as the next unpooling has switches.
            is_last = step == blocks[index] - 1
            filters = channels[max(index - 1, 0)] if is_last else channels[index]
            features = conv_norm_relu(features, filters, 3, name=f"decoder_{index + 1}_{step + 1}")
    network = segmenter(images, class_scores(features, num_classes, 1), name="segnet")
    fill_network(network.network, weights, has_backbone=False)
    return network


register(
    ModelEntry(
        "segmentation",
        "segnet",
        segnet,
        256,
        "VGG16 and its mirror image, max unpooling",
        Paper(
            "SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image Segmentation",
            "Badrinarayanan et al.",
            2015,
            "1511.00561",
        ),
        parameters=1_845_685,
    )
)
