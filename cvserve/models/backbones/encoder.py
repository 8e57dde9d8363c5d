"""Builds backbones for segmentation and captioning networks: light ones unless options ask for others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from cvserve.errors import InvalidInput
from cvserve.models.backbones.registry import backbone_features, pick_strides
from cvserve.models.backbones.resnet import RESNETS
from cvserve.models.backbones.weights import Features

LIGHT: dict[str, dict[str, Any]] = {
    "resnet18": {"width": 32, "stem": "deep", "shortcut": "pooled"},
    "resnet34": {"width": 32, "stem": "deep", "shortcut": "pooled"},
    "vgg16": {"width": 16},
    "darknet": {"width": 16},
}
"""Options of backbones for images of some 200 to 400 pixels and a training on a CPU; the published widths are 64."""

DILATED = (*RESNETS, "vgg16")
"""Backbones whose last stages can be dilated."""


def encoder_features(
    images: keras.KerasTensor, name: str, options: Mapping[str, Any] | None, weights: str | None
) -> Features:
    """Builds a backbone and returns its feature maps.

    Args:
        images: uint8 [B, H, W, 3].
        name, weights: of `backbone_features`.
        options: of `backbone_features`; what is left out is taken from `LIGHT`.

    Returns:
        Stride to feature map, finest first.

    Raises:
        InvalidInput: as `backbone_features`.
    """
    return backbone_features(images, name, weights=weights, **{**LIGHT.get(name, {}), **_checked(options)})


def dilated_features(
    network: str,
    images: keras.KerasTensor,
    name: str,
    options: Mapping[str, Any] | None,
    weights: str | None,
    strides: Sequence[int],
) -> Features:
    """Builds a backbone whose maps shrink no further than the last of `strides`; later stages are dilated instead.

    Args:
        network: the name of the network, for errors.
        images: uint8 [B, H, W, 3].
        name: one of `DILATED`.
        options: of `encoder_features`, without output_stride.
        weights: "imagenet" (vgg16 with a width of 64), a file, or None.
        strides: of the maps that are wanted, finest first.

    Returns:
        Stride to feature map, those of `strides`.

    Raises:
        InvalidInput: a backbone that cannot be dilated, and as `encoder_features`.
    """
    if name not in DILATED:
        known = ", ".join(DILATED)
        raise InvalidInput(f"{network} needs a backbone that can be dilated (known: {known}), not {name!r}")
    if weights == "imagenet" and name != "vgg16":
        raise InvalidInput(
            f"{network} has imagenet weights for the backbone vgg16 with a width of 64 only, not for {name}; "
            "give a weights file"
        )
    options = _checked(options)
    if "output_stride" in options:
        raise InvalidInput(f"{network} sets its backbone's output_stride itself; it is no backbone option here")
    options["output_stride"] = strides[-1]
    return pick_strides(encoder_features(images, name, options, weights), strides, name)


def _checked(options: Mapping[str, Any] | None) -> dict[str, Any]:
    if options is not None and not isinstance(options, Mapping):
        raise InvalidInput(f"backbone_options are names with values, not {options!r}")
    return dict(options or {})
