"""Builds the head and the loss that all classifiers share."""

from __future__ import annotations

import keras
import tensorflow as tf
from keras import layers

from cvserve.errors import InvalidInput
from cvserve.models.classification.losses import smoothed_cross_entropy
from cvserve.models.registry import Built


def classifier(
    images: keras.KerasTensor, features: keras.KerasTensor, *, num_classes: int, dropout: float, name: str
) -> Built:
    """Pools the last feature map and classifies it.

    Args:
        images: the model's input, uint8 [B, H, W, 3].
        features: float [B, h, w, C].
        dropout: fraction of the pooled features that is dropped in training, 0 to below 1.

    Returns:
        A network with the output dict {"probabilities": float32 [B, num_classes]}, whose layer `logits` has the values
        before the softmax. Its loss takes images uint8 [B, H, W, 3], labels int32 [B] and maybe `smoothing`, see
        `smoothed_cross_entropy`.

    Raises:
        InvalidInput: a dropout that is not such a fraction.
    """
    if not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise InvalidInput(f"dropout must be a number from 0 to below 1, not {dropout!r}")
    pooled = layers.GlobalAveragePooling2D(name="pool")(features)
    if dropout:
        pooled = layers.Dropout(dropout, name="dropout")(pooled)
    # float32 also under a bfloat16 policy: the loss and the answer need the precision, and the layer is tiny.
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(pooled)
    probabilities = layers.Softmax(dtype="float32", name="probabilities")(logits)
    network = keras.Model(images, {"probabilities": probabilities}, name=name)
    to_logits = keras.Model(images, logits, name=f"{name}_logits")

    def loss(images: tf.Tensor, labels: tf.Tensor, *, smoothing: float = 0.0) -> dict[str, tf.Tensor]:
        return {"cross_entropy": smoothed_cross_entropy(to_logits(images, training=True), labels, smoothing)}

    return Built(network, None, loss)
