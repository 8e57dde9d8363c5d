"""Weights of an earlier run in a new segmentation network."""

from __future__ import annotations

import keras

from cvserve.errors import InvalidInput
from cvserve.models.backbones import load_backbone_weights


def fill_network(network: keras.Model, weights: str | None, *, has_backbone: bool) -> None:
    """Takes every layer that fits out of a `.keras` file; its backbone alone has been filled before.

    Args:
        has_backbone: whether a backbone was given `weights` already: "imagenet" and files of its own are done then.

    Raises:
        NotFound, InvalidInput: weights that cannot be used.
    """
    if weights == "imagenet" and not has_backbone:
        raise InvalidInput(f"{network.name} has no imagenet weights to download; give a weights file")
    if weights is not None and (not has_backbone or str(weights).endswith(".keras")):
        load_backbone_weights(network, weights)
