"""A small Keras network and images to ask it about."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from cvserve.artifact import PreprocSpec

LABELS = ("circle", "square", "star", "line", "dot")
PREPROC = PreprocSpec(height=24, width=32, resize="short_side", short_side=28)


def make_model(classes: int = 5, seed: int = 3) -> Any:
    """uint8 [B, 24, 32, 3] to probabilities that depend on the image; the same weights at every call."""
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(seed)
    images = keras.Input((24, 32, 3), dtype="uint8", name="images")
    x = keras.layers.Rescaling(1 / 255)(images)
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dropout(0.5)(keras.layers.ReLU()(x))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(16, 3, activation="relu")(x))
    logits = keras.layers.Dense(classes, name="logits", kernel_initializer=keras.initializers.RandomNormal(0, 8))(x)
    return keras.Model(images, {"probabilities": keras.layers.Softmax(name="probabilities")(logits)}, name="small")


def make_images(count: int, height: int = 24, width: int = 32, seed: int = 0) -> np.ndarray:
    """uint8 [count, height, width, 3]: coloured rectangles on gradients, no two alike."""
    random = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        ramp = np.linspace(random.integers(0, 120), random.integers(120, 256), width)
        image = np.repeat(np.repeat(ramp[None, :, None], height, 0), 3, 2).astype(np.uint8)
        x, y = random.integers(0, width // 2), random.integers(0, height // 2)
        color = [int(value) for value in random.integers(0, 256, 3)]
        cv2.rectangle(image, (int(x), int(y)), (int(x + width // 3), int(y + height // 3)), color, -1)
        images.append(image)
    return np.stack(images)


def encode(image: np.ndarray, suffix: str = ".jpg") -> bytes:
    """uint8 RGB [H, W, 3] as an encoded image."""
    return cv2.imencode(suffix, image[..., ::-1])[1].tobytes()
