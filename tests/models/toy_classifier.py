"""A backbone from outside the package, as docs/extending.md describes it: registered once, it is a classifier too."""

from __future__ import annotations

import keras
from keras import layers

from cvserve.models import Paper
from cvserve.models.backbones import Backbone, Features, fill_backbone, register_backbone
from cvserve.models.layers import conv_norm_relu, pixel_range


def toy_net(images: keras.KerasTensor, *, weights: str | None = None, width: int = 8) -> Features:
    """Builds three strided convolutions. Returns their maps, of strides 8, 16 and 32."""
    features, stages = layers.AveragePooling2D(4)(pixel_range(images, "symmetric")), {}
    for index, stride in enumerate((8, 16, 32)):
        features = conv_norm_relu(features, width * 2**index, 3, stride=2, name=f"toy_{stride}")
        stages[stride] = features
    return fill_backbone("toy_net", images, stages, weights)


register_backbone(
    Backbone("toy_net", toy_net, "three convolutions", Paper("A Toy", "Nobody et al.", 2026), 64, parameters=39_088)
)
