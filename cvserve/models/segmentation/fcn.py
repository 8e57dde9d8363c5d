"""fcn32s, fcn16s, fcn8s: a classifier made fully convolutional (Long et al. 2014, arXiv 1411.4038).

Class scores of stride 32 are enlarged by transposed convolutions; fcn16s and fcn8s add the scores of finer maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import keras
from keras import layers

from cvserve.models.backbones import pick_strides
from cvserve.models.backbones.encoder import encoder_features
from cvserve.models.backbones.weights import fill_network
from cvserve.models.layers import BilinearKernel, conv_norm_relu
from cvserve.models.options import check_fraction, check_sides, check_whole
from cvserve.models.registry import ModelEntry, Paper, register
from cvserve.models.segmentation.segmenter import Segmenter, segmenter


def fcn(
    finest: int,
    *,
    num_classes: int,
    image_size: tuple[int, int],
    weights: str | None = None,
    backbone: str = "vgg16",
    backbone_options: Mapping[str, Any] | None = None,
    hidden: int = 256,
    dropout: float = 0.1,
    learned_enlarging: bool = False,
) -> Segmenter:
    """Builds the network.

    Args:
        image_size: (height, width), multiples of 32.
        weights: "imagenet" (vgg16 with a width of 64, backbones of keras.applications), a file, or None.
        finest: 32, 16 or 8, the stride of the finest map whose scores count.
        backbone, backbone_options: of `encoder_features`. The paper has VGG16 with a width of 64.
        hidden: channels of the two layers that were the classifier's dense ones, a 7x7 and a 1x1 convolution; 4096 in
            the paper.
        dropout: after each of them; 0.5 in the paper, with its wide layers.
        learned_enlarging: whether the last transposed convolution learns; the paper holds it at bilinear interpolation
            and lets only the inner ones learn.

    Raises:
        InvalidInput: a size or option that it cannot have.
    """
    name = f"fcn{finest}s"
    check_sides(name, image_size, 32)
    check_whole(name, hidden=(hidden, 8))
    check_fraction(name, dropout=dropout)
    strides = [stride for stride in (8, 16, 32) if stride >= finest]
    images = keras.Input((*image_size, 3), dtype="uint8", name="images")
    stages = pick_strides(encoder_features(images, backbone, backbone_options, weights), strides, backbone)

    features = stages[32]
    for index, kernel_size in ((6, 7), (7, 1)):
        features = conv_norm_relu(features, hidden, kernel_size, name=f"fc{index}")
        if dropout:
            features = layers.Dropout(dropout, name=f"fc{index}_dropout")(features)
    scores = _scores(features, num_classes, name="scores_32")
    for stride in reversed(strides[:-1]):
        finer = _scores(stages[stride], num_classes, name=f"scores_{stride}")
        scores = layers.Add(dtype="float32", name=f"sum_{stride}")(
            [_enlarged(scores, 2, learned=True, name=f"enlarged_{stride}"), finer]
        )
    scores = _enlarged(scores, finest, learned=bool(learned_enlarging), name="enlarged")
    network = segmenter(images, scores, name=name)
    fill_network(network.network, weights, has_backbone=True)
    return network


def _scores(features: keras.KerasTensor, num_classes: int, *, name: str) -> keras.KerasTensor:
    return layers.Conv2D(num_classes, 1, kernel_initializer="he_normal", dtype="float32", name=name)(features)


def _enlarged(scores: keras.KerasTensor, factor: int, *, learned: bool, name: str) -> keras.KerasTensor:
    return layers.Conv2DTranspose(
        scores.shape[-1],
        2 * factor,
        strides=factor,
        padding="same",
        use_bias=False,
        kernel_initializer=BilinearKernel(),
        trainable=learned,
        dtype="float32",
        name=name,
    )(scores)


_PAPER = Paper("Fully Convolutional Networks for Semantic Segmentation", "Long et al.", 2014, "1411.4038")
for _finest, _parameters in ((32, 2_600_485), (16, 2_610_250), (8, 2_620_015)):
    register(
        ModelEntry(
            "segmentation",
            f"fcn{_finest}s",
            partial(fcn, _finest),
            256,
            f"fully convolutional classifier, scores of stride {_finest}",
            _PAPER,
            _parameters,
        )
    )
