"""Every keras.applications backbone as a classifier."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras

from cvserve.models.backbones import APPLICATIONS, application_features, load_backbone_weights
from cvserve.models.classification.head import classifier
from cvserve.models.registry import ModelEntry, register


def build(
    name: str,
    *,
    num_classes: int,
    image_size: tuple[int, int],
    weights: str | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> keras.Model:
    """A classifier on a keras.applications backbone; `options` go to its constructor."""
    images = keras.Input((*image_size, 3), dtype="uint8", name="images")
    downloaded = weights if weights == "imagenet" else None
    features = application_features(images, name, weights=downloaded, **options)
    model = classifier(images, features, num_classes=num_classes, dropout=dropout, name=f"{name}_classifier")
    if weights not in (None, "imagenet"):
        load_backbone_weights(model, weights)
    return model


for _name, _application in APPLICATIONS.items():
    register(
        ModelEntry(
            "classification",
            _name,
            partial(build, _name),
            _application.image_size,
            f"keras.applications.{_application.constructor}",
        )
    )
