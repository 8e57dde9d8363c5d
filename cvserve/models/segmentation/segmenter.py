"""What every semantic segmentation network comes with: how it answers, and what it is trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
from keras import layers, ops

from cvserve.errors import InvalidInput
from cvserve.models.registry import ModelEntry, find, register, sized

LOGITS = "logits"
"""The layer, float32 [B, H, W, C] at the size of the images, whose answer the network's outputs are made from."""


@dataclass(frozen=True)
class Segmenter:
    """A segmentation network with what its loss is made from.

    network: uint8 images [B, H, W, 3] to {"class_map": uint8 [B, H, W], "confidence": float32 [B, H, W]}: the best
    class of each pixel, and its probability.
    logits: the same network, images to float32 [B, H, W, C]; it is what is trained.
    """

    network: keras.Model
    logits: keras.Model


def segmenter(images: keras.KerasTensor, logits: keras.KerasTensor, *, name: str) -> Segmenter:
    """Puts the outputs that all networks share behind the class scores.

    Args:
        images: the input. logits: [B, H, W, C] at the size of the images, of any dtype.
    """
    logits = layers.Activation("linear", dtype="float32", name=LOGITS)(logits)
    answers = ClassMap(name="answers")(logits)
    return Segmenter(keras.Model(images, answers, name=name), keras.Model(images, logits, name=f"{name}_logits"))


@keras.saving.register_keras_serializable(package="cvserve")
class ClassMap(layers.Layer):
    """Class scores to the best class of each pixel and its probability.

    Call arguments:
        logits: float32 [B, H, W, C], C at most 255.

    Returns:
        {"class_map": uint8 [B, H, W], "confidence": float32 [B, H, W], 0 to 1}.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)

    def call(self, logits: tf.Tensor) -> dict[str, tf.Tensor]:
        # tf.argmax, since keras.ops.argmax becomes bit operations that neither ONNX nor TFLite knows.
        best = tf.cast(tf.argmax(logits, axis=-1, output_type=tf.int32), tf.uint8)
        return {"class_map": best, "confidence": ops.max(ops.softmax(logits, axis=-1), axis=-1)}

    def compute_output_spec(self, logits: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
        return {
            "class_map": keras.KerasTensor(logits.shape[:-1], dtype="uint8"),
            "confidence": keras.KerasTensor(logits.shape[:-1], dtype="float32"),
        }

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("dtype", None)
        return config


_builders: dict[str, Callable[..., Segmenter]] = {}


def register_segmenter(name: str, builder: Callable[..., Segmenter], image_size: int, summary: str) -> None:
    """Adds a segmentation network. builder: called with num_classes, image_size (height, width), weights and the
    network's own options."""
    _builders[name] = builder

    def network(**options: Any) -> keras.Model:
        return builder(**options).network

    register(ModelEntry("segmentation", name, network, image_size, summary))


def create_segmenter(
    name: str,
    *,
    num_classes: int,
    image_size: int | tuple[int, int] | None = None,
    weights: str | None = None,
    **options: Any,
) -> Segmenter:
    """Builds a segmentation network.

    Args:
        num_classes: with background, where that is a class.
        image_size, weights, options: as of `create_model`.

    Raises:
        InvalidInput: an unknown name, option or size, or weights that do not fit.
    """
    entry = find("segmentation", name)
    if not 2 <= num_classes <= 255:
        raise InvalidInput(f"a segmentation model has from 2 to 255 classes, not {num_classes}")
    return sized(
        entry, _builders[name], num_classes=num_classes, image_size=image_size, weights=weights, options=options
    )
