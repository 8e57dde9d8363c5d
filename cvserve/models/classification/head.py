"""The head that all classifiers share."""

from __future__ import annotations

import keras
from keras import layers

from cvserve.errors import InvalidInput


def classifier(
    images: keras.KerasTensor, features: keras.KerasTensor, *, num_classes: int, dropout: float, name: str
) -> keras.Model:
    """Pools the last feature map and answers `probabilities`.

    Args:
        images: the model's input, uint8 [B, H, W, 3].
        features: float [B, h, w, C].
        dropout: share of pooled features dropped in training.

    Returns:
        A model with the output dict {"probabilities": float32 [B, num_classes]}; its layer `logits` holds the
        values before the softmax, which training uses.

    Raises:
        InvalidInput: a dropout that is no share.
    """
    if not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise InvalidInput(f"dropout must be a number from 0 to below 1, not {dropout!r}")
    pooled = layers.GlobalAveragePooling2D(name="pool")(features)
    if dropout:
        pooled = layers.Dropout(dropout, name="dropout")(pooled)
    # float32 also under a bfloat16 policy: the loss and the answer need the precision, and the layer is tiny.
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(pooled)
    probabilities = layers.Softmax(dtype="float32", name="probabilities")(logits)
    return keras.Model(images, {"probabilities": probabilities}, name=name)
