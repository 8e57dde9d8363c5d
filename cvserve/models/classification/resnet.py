"""resnet18 and resnet34 for photos, resnet20 for CIFAR-sized pictures."""

from __future__ import annotations

import keras

from cvserve.errors import InvalidInput
from cvserve.models.backbones import load_backbone_weights, resnet_features
from cvserve.models.backbones.resnet import Shortcut, Stem
from cvserve.models.classification.head import classifier
from cvserve.models.layers import pixel_range
from cvserve.models.registry import ModelEntry, register


def _build(
    name: str,
    *,
    num_classes: int,
    image_size: tuple[int, int],
    weights: str | None,
    blocks: tuple[int, ...],
    width: int,
    stem: Stem,
    shortcut: Shortcut,
    dropout: float,
) -> keras.Model:
    if weights == "imagenet":
        raise InvalidInput(f"{name} has no imagenet weights to download; give a weights file, or use resnet50")
    if width < 2:
        raise InvalidInput(f"{name} needs a width of at least 2 channels, not {width}")
    images = keras.Input((*image_size, 3), dtype="uint8", name="images")
    stages = resnet_features(pixel_range(images, "symmetric"), blocks=blocks, width=width, stem=stem, shortcut=shortcut)
    model = classifier(images, stages[max(stages)], num_classes=num_classes, dropout=dropout, name=name)
    if weights is not None:
        load_backbone_weights(model, weights)
    return model


def resnet18(
    *,
    num_classes: int,
    image_size: tuple[int, int],
    weights: str | None = None,
    width: int = 64,
    stem: Stem = "conv7",
    shortcut: Shortcut = "projection",
    dropout: float = 0.0,
) -> keras.Model:
    """ResNet-18. width, stem, shortcut: see `resnet_features`."""
    return _build(
        "resnet18",
        num_classes=num_classes,
        image_size=image_size,
        weights=weights,
        blocks=(2, 2, 2, 2),
        width=width,
        stem=stem,
        shortcut=shortcut,
        dropout=dropout,
    )


def resnet34(
    *,
    num_classes: int,
    image_size: tuple[int, int],
    weights: str | None = None,
    width: int = 64,
    stem: Stem = "conv7",
    shortcut: Shortcut = "projection",
    dropout: float = 0.0,
) -> keras.Model:
    """ResNet-34. width, stem, shortcut: see `resnet_features`."""
    return _build(
        "resnet34",
        num_classes=num_classes,
        image_size=image_size,
        weights=weights,
        blocks=(3, 4, 6, 3),
        width=width,
        stem=stem,
        shortcut=shortcut,
        dropout=dropout,
    )


def resnet20(
    *,
    num_classes: int,
    image_size: tuple[int, int],
    weights: str | None = None,
    width: int = 16,
    dropout: float = 0.0,
) -> keras.Model:
    """The CIFAR ResNet-20 of the paper's section 4.2: three stages of three blocks, shortcuts without parameters."""
    return _build(
        "resnet20",
        num_classes=num_classes,
        image_size=image_size,
        weights=weights,
        blocks=(3, 3, 3),
        width=width,
        stem="cifar",
        shortcut="padded",
        dropout=dropout,
    )


register(ModelEntry("classification", "resnet18", resnet18, 224, "ResNet-18, 11.2 M parameters"))
register(ModelEntry("classification", "resnet34", resnet34, 224, "ResNet-34, 21.3 M parameters"))
register(ModelEntry("classification", "resnet20", resnet20, 32, "CIFAR ResNet-20, 0.27 M parameters"))
