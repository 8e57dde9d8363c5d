"""resnet18 and resnet34 for photos, resnet20 for CIFAR-sized images."""

from __future__ import annotations

from functools import partial

import keras

from cvserve.errors import InvalidInput
from cvserve.models.backbones import load_backbone_weights, resnet_features
from cvserve.models.backbones.resnet import RESNETS, Shortcut, Stem, check_resnet_options
from cvserve.models.classification.head import classifier
from cvserve.models.layers import pixel_range
from cvserve.models.registry import ModelEntry, register


def build(
    name: str,
    blocks: tuple[int, ...],
    *,
    num_classes: int,
    image_size: tuple[int, int],
    weights: str | None = None,
    width: int = 64,
    stem: Stem = "conv7",
    shortcut: Shortcut = "projection",
    dropout: float = 0.0,
) -> keras.Model:
    """A residual classifier. width, stem, shortcut: see `resnet_features`."""
    if weights == "imagenet":
        raise InvalidInput(f"{name} has no imagenet weights to download; give a weights file, or use resnet50")
    check_resnet_options(name, width=width, stem=stem, shortcut=shortcut)
    images = keras.Input((*image_size, 3), dtype="uint8", name="images")
    stages = resnet_features(pixel_range(images, "symmetric"), blocks=blocks, width=width, stem=stem, shortcut=shortcut)
    model = classifier(images, stages[max(stages)], num_classes=num_classes, dropout=dropout, name=name)
    if weights is not None:
        load_backbone_weights(model, weights)
    return model


def resnet20(
    *,
    num_classes: int,
    image_size: tuple[int, int],
    weights: str | None = None,
    width: int = 16,
    dropout: float = 0.0,
) -> keras.Model:
    """The CIFAR ResNet-20 of the paper's section 4.2: three stages of three blocks, shortcuts without parameters."""
    return build(
        "resnet20",
        (3, 3, 3),
        num_classes=num_classes,
        image_size=image_size,
        weights=weights,
        width=width,
        stem="cifar",
        shortcut="padded",
        dropout=dropout,
    )


for _name, _summary in (
    ("resnet18", "ResNet-18, 11.2 M parameters"),
    ("resnet34", "ResNet-34, 21.3 M parameters"),
):
    register(ModelEntry("classification", _name, partial(build, _name, RESNETS[_name]), 224, _summary))
register(ModelEntry("classification", "resnet20", resnet20, 32, "CIFAR ResNet-20, 0.27 M parameters"))
