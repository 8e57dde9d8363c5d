"""Any backbone by name, as feature maps of several strides: what detection and segmentation build on."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import keras

from cvserve.errors import InvalidInput
from cvserve.models.backbones.applications import APPLICATIONS, application_backbone
from cvserve.models.backbones.csp import csp_features
from cvserve.models.backbones.darknet import darknet_features
from cvserve.models.backbones.resnet import RESNETS, Shortcut, Stem, check_resnet_options, resnet_features
from cvserve.models.backbones.vgg import vgg_features
from cvserve.models.backbones.weights import load_backbone_weights
from cvserve.models.layers import pixel_range
from cvserve.settings import nearest

Features = dict[int, keras.KerasTensor]
"""Stride, in pixels of the images, to feature map [B, ceil(H / stride), ceil(W / stride), C], finest first."""

# Written in vgg.py as well: a VGG16 that pools as SSD needs it, and trains from scratch.
_APPLICATIONS = {name: application for name, application in APPLICATIONS.items() if name != "vgg16"}


def list_backbones() -> list[str]:
    """What `backbone_features` can be asked for, sorted."""
    return sorted([*_OWN, *_APPLICATIONS])


def backbone_features(images: keras.KerasTensor, name: str, *, weights: str | None = None, **options: Any) -> Features:
    """The feature maps of a backbone.

    Args:
        images: uint8 [B, H, W, 3], RGB; scaling happens inside.
        name: one of `list_backbones()`. resnet18, resnet34 (options width, stem, shortcut as the classifiers have,
            and output_stride), csp (width, depth; the backbone of yolo), vgg16 (width, normalised, output_stride),
            darknet (width), or one of keras.applications (options of its constructor, such as alpha).
        weights: "imagenet" (downloaded; keras.applications, and vgg16 with a width of 64), a file (see
            `load_backbone_weights`; a classifier's run fills the layers that have the same names and shapes), or None.

    Returns:
        Stride to feature map: the last one of each stride. keras.applications give those of 4, 8, 16 and 32 that they
        have; a map whose size is not that of its stride (Inception's convolutions without padding) is left out.

    Raises:
        InvalidInput: no such backbone, option or weights.
    """
    if name in _OWN:
        return _own(images, name, weights, options)
    if name not in _APPLICATIONS:
        known = list_backbones()
        raise InvalidInput(f"there is no backbone {name!r}{nearest(str(name), known)}")
    return _application(images, name, weights, options)


def pick_strides(features: Features, strides: Collection[int], name: str) -> Features:
    """The maps of these strides.

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


def _own(images: keras.KerasTensor, name: str, weights: str | None, options: dict[str, Any]) -> Features:
    builder, known = _OWN[name]
    for option in options:
        if option not in known:
            raise InvalidInput(f"backbone {name} takes no option {option!r}, only {', '.join(known)}")
    if weights == "imagenet" and name != "vgg16":
        raise InvalidInput(f"backbone {name} has no imagenet weights to download; give a weights file, or use resnet50")
    features = builder(images, **options)
    if weights is None:
        return features
    network = keras.Model(images, list(features.values()))
    if weights != "imagenet":
        load_backbone_weights(network, weights)
        return features
    if options.get("width", 64) != 64:
        raise InvalidInput("the imagenet weights of vgg16 are those of a width of 64")
    pretrained = application_backbone(name, (*images.shape[1:3], 3), weights=weights)
    for layer in pretrained.layers:
        if layer.weights:
            network.get_layer(layer.name).set_weights(layer.get_weights())
    return features


def _application(images: keras.KerasTensor, name: str, weights: str | None, options: dict[str, Any]) -> Features:
    scaled = pixel_range(images, APPLICATIONS[name].pixels)
    whole = application_backbone(name, scaled.shape[1:], weights=weights if weights == "imagenet" else None, **options)
    if weights not in (None, "imagenet"):
        load_backbone_weights(whole, weights)
    ends = last_of_each_stride(whole)
    if not ends:
        raise InvalidInput(f"backbone {name} has no feature maps of stride 4, 8, 16 or 32")
    inner = keras.Model(whole.inputs, list(ends.values()), name=name)
    maps = inner(scaled)
    return dict(zip(ends, maps if isinstance(maps, list | tuple) else [maps], strict=True))


def last_of_each_stride(backbone: keras.Model) -> Features:
    """Of strides 4, 8, 16 and 32, the output of the last layer whose map has the size of that stride.

    Sizes are the image's divided by the stride, rounded up (or down, where pooling does so). Layers that only pad
    are no feature maps.
    """
    height, width = backbone.inputs[0].shape[1:3]
    sizes = {
        stride: {(-(-height // stride), -(-width // stride)), (height // stride, width // stride)}
        for stride in (4, 8, 16, 32)
    }
    ends: Features = {}
    for layer in backbone.layers:
        shape: tuple[Any, ...] = tuple(getattr(layer.output, "shape", ()))
        if len(shape) != 4 or isinstance(layer, keras.layers.ZeroPadding2D):
            continue
        for stride, fits in sizes.items():
            # One pixel is what attention over channels looks at, not a feature map.
            if (shape[1], shape[2]) in fits and shape[1] * shape[2] > 1:
                ends[stride] = layer.output
    return dict(sorted(ends.items()))


def _whole(name: str, least: int = 1, **values: Any) -> None:
    for option, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InvalidInput(f"backbone {name} needs a {option} of at least {least}, a whole number, not {value!r}")


def _check_output_stride(name: str, stride: Any) -> None:
    _whole(name, output_stride=stride)
    if stride & (stride - 1):
        raise InvalidInput(f"backbone {name} needs a power of two as output_stride, not {stride}")


def _resnet(name: str) -> Callable[..., Features]:
    def build(
        images: keras.KerasTensor,
        width: int = 64,
        stem: Stem = "conv7",
        shortcut: Shortcut = "projection",
        output_stride: int = 32,
    ) -> Features:
        check_resnet_options(f"backbone {name}", width=width, stem=stem, shortcut=shortcut)
        _check_output_stride(name, output_stride)
        return resnet_features(
            pixel_range(images, "symmetric"),
            blocks=RESNETS[name],
            width=width,
            stem=stem,
            shortcut=shortcut,
            output_stride=output_stride,
        )

    return build


def _csp(images: keras.KerasTensor, width: int = 16, depth: int = 1) -> Features:
    _whole("csp", 4, width=width)
    _whole("csp", depth=depth)
    return csp_features(pixel_range(images, "unit"), width=width, depth=depth)


def _darknet(images: keras.KerasTensor, width: int = 64) -> Features:
    _whole("darknet", 4, width=width)
    return darknet_features(pixel_range(images, "symmetric"), width=width)


def _vgg(images: keras.KerasTensor, width: int = 64, normalized: bool = True, output_stride: int = 32) -> Features:
    _whole("vgg16", 4, width=width)
    _check_output_stride("vgg16", output_stride)
    return vgg_features(
        pixel_range(images, "caffe"), width=width, normalized=bool(normalized), output_stride=output_stride
    )


_OWN: dict[str, tuple[Callable[..., Features], tuple[str, ...]]] = {
    **{name: (_resnet(name), ("width", "stem", "shortcut", "output_stride")) for name in RESNETS},
    "csp": (_csp, ("width", "depth")),
    "darknet": (_darknet, ("width",)),
    "vgg16": (_vgg, ("width", "normalised", "output_stride")),
}
