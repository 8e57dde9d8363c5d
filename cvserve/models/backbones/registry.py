"""Holds the table of backbones. To register a backbone also registers the classifier on it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras

from cvserve.errors import InvalidInput
from cvserve.models.backbones.weights import Features, load_backbone_weights
from cvserve.models.classification.classifier import classifier
from cvserve.models.registry import Built, ModelEntry, Paper, register
from cvserve.models.scan import import_modules
from cvserve.settings import nearest


@dataclass(frozen=True)
class Backbone:
    """Describes a feature extractor.

    features: called with images uint8 [B, H, W, 3], RGB, `weights` and the backbone's own options by name; returns the
        last feature map of each stride that it has.
    summary, paper, image_size, parameters: of the classifier, see `ModelEntry`.
    last: called in the same way, returns the feature map float [B, h, w, C] that classes are computed from, by a single
        layer that is called as the backbone; None takes the coarsest of `features`.
    """

    name: str
    features: Callable[..., Features]
    summary: str
    paper: Paper | None = None
    image_size: int = 224
    parameters: int | None = None
    last: Callable[..., keras.KerasTensor] | None = None


_backbones: dict[str, Backbone] = {}


def register_backbone(backbone: Backbone) -> Backbone:
    """Adds a backbone, and the classifier on it.

    Raises:
        ValueError: there is another backbone or classifier of that name.
    """
    register(
        ModelEntry(
            "classification",
            backbone.name,
            partial(_classifier, backbone),
            backbone.image_size,
            backbone.summary,
            backbone.paper,
            backbone.parameters,
        )
    )
    _backbones[backbone.name] = backbone
    return backbone


def list_backbones() -> list[str]:
    """Returns the names that `backbone_features` can be asked for, sorted."""
    import_modules("cvserve.models.backbones")
    return sorted(_backbones)


def backbone_features(images: keras.KerasTensor, name: str, *, weights: str | None = None, **options: Any) -> Features:
    """Builds a backbone on images and returns its feature maps.

    Args:
        images: uint8 [B, H, W, 3], RGB; scaling happens inside.
        name: one of `list_backbones()`.
        weights: "imagenet" (downloaded; keras.applications, and vgg16 with a width of 64), a file (see
            `load_backbone_weights`; a classifier's run fills the layers that have the same names and shapes), or None.
        options: the backbone's own, such as width, or alpha of the MobileNets.

    Returns:
        Stride to feature map: the last one of each stride. A map whose size is not that of its stride (Inception's
        convolutions without padding) is left out.

    Raises:
        InvalidInput: no such backbone, option or weights.
    """
    known = list_backbones()
    if name not in known:
        raise InvalidInput(f"there is no backbone {name!r}{nearest(str(name), known)}")
    build = _backbones[name].features
    _check_options(f"backbone {name}", build, options)
    return build(images, weights=weights, **options)


def pick_strides(features: Features, strides: Collection[int], name: str) -> Features:
    """Returns the maps of these strides.

    Raises:
        InvalidInput: the backbone `name` lacks one.
    """
    missing = [stride for stride in strides if stride not in features]
    if missing:
        raise InvalidInput(
            f"backbone {name} has no feature map of stride {missing[0]} for such images and options; "
            f"it has {', '.join(map(str, features)) or 'none'}"
        )
    return {stride: features[stride] for stride in strides}


def _check_options(
    model: str, build: Callable[..., Features], options: dict[str, Any], more: Sequence[str] = ()
) -> None:
    """Checks that a builder takes the options. more: further options that the model has, for the message."""
    parameters = inspect.signature(build).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return  # it checks them itself
    known = [parameter.name for parameter in parameters if parameter.name not in ("images", "weights")] + [*more]
    for option in options:
        if option not in known:
            raise InvalidInput(f"{model} takes no option {option!r}, only {', '.join(known)}")


def _classifier(
    backbone: Backbone,
    *,
    num_classes: int,
    image_size: tuple[int, int],
    weights: str | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> Built:
    """Builds the classifier on a backbone. Options but dropout are the backbone's own."""
    images = keras.Input((*image_size, 3), dtype="uint8", name="images")
    downloaded = weights if weights == "imagenet" else None
    if backbone.last is not None:
        features = backbone.last(images, weights=downloaded, **options)
        name = f"{backbone.name}_classifier"
    else:
        _check_options(backbone.name, backbone.features, options, more=("dropout",))
        stages = backbone.features(images, weights=downloaded, **options)
        features, name = stages[max(stages)], backbone.name
    built = classifier(images, features, num_classes=num_classes, dropout=dropout, name=name)
    if weights != downloaded:
        load_backbone_weights(built.network, str(weights))
    return built
