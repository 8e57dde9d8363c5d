"""Averages a segmentation network's probabilities over several views of an image (test-time augmentation)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from cvserve.artifact import PreprocSpec
from cvserve.errors import CvserveError, InvalidInput
from cvserve.models import create_model
from cvserve.models.segmentation.segmenter import LOGITS
from cvserve.runs import Run

# The sides of a network's input are multiples of this, since networks halve them up to five times.
_STEP = 32
_SCALES = (0.25, 4.0)


@dataclass(frozen=True)
class Views:
    """Holds what is averaged beside the image itself.

    flip: whether each view is also mirrored. scales: other sizes, relative to the network's own input.
    """

    flip: bool = False
    scales: tuple[float, ...] = ()

    def __str__(self) -> str:
        return ", ".join(["flip"] * self.flip + [f"{scale:g}" for scale in self.scales])

    @classmethod
    def parse(cls, text: str) -> Views:
        """Reads views from a text such as "flip", "0.75,1.25" or "flip,0.75,1.25".

        Raises:
            InvalidInput: another text, or a scale that is not from 0.25 to 4.

        Example:
            >>> Views.parse("flip,0.75")
            Views(flip=True, scales=(0.75,))
        """
        flip, scales = False, []
        for word in (part.strip() for part in text.split(",")):
            if word == "flip":
                flip = True
                continue
            try:
                scale = float(word)
            except ValueError:
                raise InvalidInput(f"an average is over flip and scales, as in flip,0.75,1.25, not {word!r}") from None
            if not _SCALES[0] <= scale <= _SCALES[1]:
                raise InvalidInput(f"a scale to average over is from {_SCALES[0]} to {_SCALES[1]:g}, not {scale:g}")
            if scale != 1:
                scales.append(scale)
        return cls(flip, tuple(scales))


def averaged(run: Run, model: keras.Model, views: Views) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Returns a function that predicts like the network, but from the mean of the probabilities of all views.

    For another size the same network is built anew and given the same weights. Its images are resized from the
    network's own input, so that larger sizes show no more detail; its probabilities are resized back bilinearly.

    Args:
        run: describes how the network is built. model: its network, float32.

    Returns:
        A function from images, uint8 RGB [B, H, W, 3], to {"class_map": uint8 [B, H, W], "confidence": float32
        [B, H, W]}.

    Raises:
        InvalidInput: the network cannot be built in another size.
    """
    size = run.preproc.height, run.preproc.width
    sized = [(size, keras.Model(model.input, model.get_layer(LOGITS).output))]
    sized += [(other, _rebuilt(run, model, other)) for other in _sizes(run.preproc, views)]

    @tf.function(reduce_retracing=True)
    def answer(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        parts = []
        for own_size, logits in sized:
            view = images if own_size == size else _resized(images, own_size)
            for mirrored in (False, True) if views.flip else (False,):
                probabilities = tf.nn.softmax(logits(_mirrored(view) if mirrored else view, training=False))
                probabilities = _mirrored(probabilities) if mirrored else probabilities
                parts.append(probabilities if own_size == size else tf.image.resize(probabilities, size))
        mean = tf.add_n(parts) / len(parts)
        return tf.cast(tf.argmax(mean, axis=-1), tf.uint8), tf.reduce_max(mean, axis=-1)

    def predict(pixels: np.ndarray) -> dict[str, np.ndarray]:
        class_map, confidence = answer(tf.constant(pixels))
        return {"class_map": class_map.numpy(), "confidence": confidence.numpy()}

    return predict


def _sizes(preproc: PreprocSpec, views: Views) -> list[tuple[int, int]]:
    """Returns the other sizes (height, width), in whole steps: each once, and not the network's own."""
    own = preproc.height, preproc.width
    sizes = [
        (max(1, round(own[0] * scale / _STEP)) * _STEP, max(1, round(own[1] * scale / _STEP)) * _STEP)
        for scale in views.scales
    ]
    return [size for size in dict.fromkeys(sizes) if size != own]


def _rebuilt(run: Run, model: keras.Model, size: tuple[int, int]) -> keras.Model:
    """Builds the network for another size, and returns the model of its logits."""
    try:
        other = create_model(
            run.task, run.architecture, num_classes=len(run.labels), image_size=size, **run.description.model_options
        )
        other.set_weights(model.get_weights())
    except (ValueError, CvserveError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InvalidInput(
            f"{run.directory}: its {run.architecture} cannot be built for {size[0]} x {size[1]} pixels, so that it "
            f"cannot be averaged over scales, only over flip ({reason})"
        ) from error
    return keras.Model(other.input, other.get_layer(LOGITS).output)


def _resized(images: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Resizes images, uint8 [B, H, W, 3], without aliasing where they shrink."""
    larger = tf.image.resize(tf.cast(images, tf.float32), size, antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(larger), 0, 255), tf.uint8)


def _mirrored(values: tf.Tensor) -> tf.Tensor:
    return tf.reverse(values, axis=[2])
