"""Scales uint8 pixels, inside the graph, to the range that a backbone was trained on."""

from __future__ import annotations

import keras
from keras import layers

# ImageNet statistics of RGB in 0..1, and of BGR in 0..255: keras.applications.imagenet_utils, modes torch and caffe.
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_CAFFE_BGR_MEAN = (103.939, 116.779, 123.68)

PIXEL_RANGES = ("unit", "symmetric", "imagenet", "caffe", "raw")


def pixel_range(images: keras.KerasTensor, kind: str) -> keras.KerasTensor:
    """Scales RGB pixels.

    Args:
        images: uint8 [B, H, W, 3], RGB.
        kind: "unit" 0..1; "symmetric" -1..1; "imagenet" (x / 255 - mean) / std; "caffe" BGR minus the mean;
            "raw" 0..255 as float, for networks that scale inside.

    Returns:
        float [B, H, W, 3].
    """
    if kind == "unit":
        return layers.Rescaling(1 / 255, name="pixel_range")(images)
    if kind == "symmetric":
        return layers.Rescaling(1 / 127.5, offset=-1.0, name="pixel_range")(images)
    if kind == "imagenet":
        scale = [1 / (255 * std) for std in _IMAGENET_STD]
        offset = [-mean / std for mean, std in zip(_IMAGENET_MEAN, _IMAGENET_STD, strict=True)]
        return layers.Rescaling(scale, offset=offset, name="pixel_range")(images)
    if kind == "caffe":
        as_float = layers.Rescaling(1.0, name="as_float")(images)
        offset = [-mean for mean in _CAFFE_BGR_MEAN]
        return layers.Rescaling(1.0, offset=offset, name="pixel_range")(keras.ops.flip(as_float, axis=-1))
    if kind == "raw":
        return layers.Rescaling(1.0, name="pixel_range")(images)
    raise ValueError(f"unknown pixel range {kind!r}; known: {', '.join(PIXEL_RANGES)}")
