"""Builds the context module: eight convolutions of growing dilation that begin as the identity."""

from __future__ import annotations

from typing import Literal

import keras
from keras import layers

from cvserve.models.layers import IdentityKernel

Form = Literal["basic", "large"]

DILATIONS = (1, 1, 2, 4, 8, 16, 1, 1)
"""Dilations of seven 3x3 convolutions and a 1x1 one; they see 3, 5, 9, 17, 33, 65, 67 and 67 pixels."""
WIDTHS: dict[str, tuple[int, ...]] = {
    "basic": (1, 1, 1, 1, 1, 1, 1, 1),
    "large": (2, 2, 4, 8, 16, 32, 32, 1),
}
"""Channels of each convolution, in multiples of the input's channels (table 1 of the paper)."""


def context_module(features: keras.KerasTensor, form: Form = "basic", *, name: str = "context") -> keras.KerasTensor:
    """Adds context of several scales without losing resolution (Yu & Koltun 2015, arXiv 1511.07122, section 3).

    What comes out is as large and has as many channels, so it fits behind any map. All but the last convolution are
    followed by a ReLU, and all begin as the identity: a new module passes on what is not negative.

    Args:
        features: float [B, H, W, C].
        form: "basic" keeps C channels all through, "large" has up to 32 C.

    Returns:
        float [B, H, W, C].
    """
    channels = features.shape[-1]
    for index, (dilation, multiple) in enumerate(zip(DILATIONS, WIDTHS[form], strict=True)):
        is_last = index == len(DILATIONS) - 1
        features = layers.Conv2D(
            channels * multiple,
            1 if is_last else 3,
            dilation_rate=dilation,
            padding="same",
            kernel_initializer=IdentityKernel(channels),
            name=f"{name}_{index + 1}",
        )(features)
        if not is_last:
            features = layers.ReLU(name=f"{name}_{index + 1}_relu")(features)
    return features
