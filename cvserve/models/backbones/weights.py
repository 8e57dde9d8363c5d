"""Loads weights of another training into a new network, as far as they fit."""

from __future__ import annotations

from pathlib import Path

import keras

from cvserve.errors import InvalidInput, NotFound

Features = dict[int, keras.KerasTensor]
"""Stride, in pixels of the images, to feature map [B, ceil(H / stride), ceil(W / stride), C], finest first."""


def load_backbone_weights(model: keras.Model, path: str | Path) -> int:
    """Copies weights into the layers of `model` that have the same name and shapes; a head of another size stays.

    Args:
        path: a `.keras` file (of a cvserve run, for example), or a `.weights.h5` file of keras.applications or of
            the same network.

    Returns:
        How many layers were filled.

    Raises:
        NotFound: no such file. InvalidInput: not a weights file, or nothing in it fits.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFound(f"no weights file at {path}")
    if path.name.endswith(".keras"):
        try:
            source = keras.models.load_model(path, compile=False)
        except (ValueError, OSError) as error:
            raise InvalidInput(f"{path} is not a Keras model: {' '.join(str(error).split())}") from error
        filled = _copy_layers(source, model)
    elif path.suffix == ".h5":
        filled = _load_h5(model, path)
    else:
        raise InvalidInput(f"{path} is not a weights file; give .keras or .weights.h5")
    if not filled:
        raise InvalidInput(f"nothing in {path} fits this network: no layer has the same name and shapes")
    return filled


def fill_backbone(name: str, images: keras.KerasTensor, features: Features, weights: str | None) -> Features:
    """Loads weights of a file into a backbone that has none to download.

    Args:
        name: of the backbone. images, features: what it was built from, and its maps.

    Returns:
        `features`.

    Raises:
        NotFound, InvalidInput: weights that cannot be used.
    """
    if weights == "imagenet":
        raise InvalidInput(f"backbone {name} has no imagenet weights to download; give a weights file, or use resnet50")
    if weights is not None:
        load_backbone_weights(keras.Model(images, list(features.values())), weights)
    return features


def fill_network(network: keras.Model, weights: str | None, *, has_backbone: bool) -> None:
    """Loads every layer that fits from a `.keras` file; a backbone may have been filled alone before.

    Args:
        has_backbone: whether a backbone was given `weights` already: "imagenet" and files of its own are done then.

    Raises:
        NotFound, InvalidInput: weights that cannot be used.
    """
    if weights == "imagenet" and not has_backbone:
        raise InvalidInput(f"{network.name} has no imagenet weights to download; give a weights file")
    if weights is not None and (not has_backbone or str(weights).endswith(".keras")):
        load_backbone_weights(network, weights)


def _copy_layers(source: keras.Model, target: keras.Model) -> int:
    sources = {layer.name: layer for layer in _leaves(source)}
    filled = 0
    for layer in _leaves(target):
        other = sources.get(layer.name)
        if other is None or not layer.weights:
            continue
        values = other.get_weights()
        if [value.shape for value in values] == [tuple(weight.shape) for weight in layer.weights]:
            layer.set_weights(values)
            filled += 1
    return filled


def _load_h5(model: keras.Model, path: Path) -> int:
    backbone = next((layer for layer in model.layers if isinstance(layer, keras.Model)), model)
    before = [weight.numpy().copy() for weight in backbone.weights]
    try:
        if path.name.endswith(".weights.h5"):
            backbone.load_weights(path, skip_mismatch=True)
        else:
            backbone.load_weights(path, by_name=True, skip_mismatch=True)
    except (ValueError, OSError, KeyError) as error:
        raise InvalidInput(f"{path} does not fit this network: {' '.join(str(error).split())}") from error
    changed = [not (old == new.numpy()).all() for old, new in zip(before, backbone.weights, strict=True)]
    return sum(changed)


def _leaves(model: keras.Model) -> list[keras.layers.Layer]:
    leaves: list[keras.layers.Layer] = []
    for layer in model.layers:
        leaves += _leaves(layer) if isinstance(layer, keras.Model) else [layer]
    return leaves
