"""Builds the convolution that most networks here consist of."""

from __future__ import annotations

import keras
from keras import layers

# A running mean over about 20 batches: short trainings on small sets validate with statistics of their own, not with
# what is left of the initial ones (Keras's 0.99 needs some 500 batches).
BATCH_NORM_MOMENTUM = 0.95
BATCH_NORM_EPSILON = 1e-5


def conv_norm_relu(
    features: keras.KerasTensor,
    filters: int,
    kernel_size: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    activation: bool = True,
    zero_scale: bool = False,
    name: str,
) -> keras.KerasTensor:
    """Applies a convolution without bias, batch normalisation and, by default, ReLU.

    Args:
        features: float [B, H, W, C].
        dilation: distance of the kernel's weights, in pixels; with more than 1, the stride is 1.
        zero_scale: start the normalisation's scale at 0, so that a residual block begins as the identity
            (Goyal et al. 2017, section 5.1).

    Returns:
        float [B, ceil(H / stride), ceil(W / stride), filters].
    """
    features = layers.Conv2D(
        filters,
        kernel_size,
        strides=stride,
        dilation_rate=dilation,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(features)
    features = layers.BatchNormalization(
        momentum=BATCH_NORM_MOMENTUM,
        epsilon=BATCH_NORM_EPSILON,
        gamma_initializer="zeros" if zero_scale else "ones",
        name=f"{name}_norm",
    )(features)
    return layers.ReLU(name=f"{name}_relu")(features) if activation else features
