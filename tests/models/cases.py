"""The smallest options with which each network has all of its parts, and variants that are worth asking."""

from __future__ import annotations

from typing import Any

from models.questions import Case

_THIN: dict[str, Any] = {"backbone_options": {"width": 4}}
_REGIONS: dict[str, Any] = {**_THIN, "units": 16, "sampled": 16}
_FASTER: dict[str, Any] = {**_REGIONS, "channels": 8, "candidates": 60, "proposals": 20}
_VGG: dict[str, Any] = {**_THIN, "hidden": 8, "dropout": 0.0}
_ENCODER: dict[str, Any] = {**_THIN, "stride": 16, "channels": 6, "length": 7, "dropout": 0.0}
_RECURRENT: dict[str, Any] = {**_ENCODER, "units": 8, "embedding": 6}
_TRANSFORMER: dict[str, Any] = {**_ENCODER, "width": 8, "depth": 2, "heads": 2, "hidden": 12}
_DEEPLAB: dict[str, Any] = {**_THIN, "channels": 8, "rates": (1, 2), "dropout": 0.0}

SMALL: dict[tuple[str, str], dict[str, Any]] = {
    ("classification", "resnet18"): {"width": 8},
    ("classification", "resnet34"): {"width": 8, "stem": "deep", "shortcut": "pooled"},
    ("classification", "csp"): {"width": 4},
    ("classification", "darknet"): {"width": 4},
    ("classification", "mobilenet"): {"alpha": 0.25},
    ("classification", "mobilenet_v2"): {"alpha": 0.35},
    ("detection", "yolo"): {"width": 4, "bins": 4},
    ("detection", "retinanet"): {**_THIN, "channels": 8, "depth": 1, "levels": (3, 6)},
    ("detection", "ssd"): _THIN,
    ("detection", "yolov1"): {**_THIN, "neck": 8, "hidden": 16},
    ("detection", "faster_rcnn"): _FASTER,
    ("detection", "fast_rcnn"): {**_REGIONS, "scales": (0.5, 1.0)},
    ("detection", "rcnn"): {**_REGIONS, "scales": (0.5, 1.0), "crop": 32},
    ("detection", "mask_rcnn"): {**_FASTER, "objects": 8, "mask_channels": 8, "mask_depth": 2},
    ("segmentation", "unet"): {**_THIN, "width": 8, "dropout": 0.0},
    ("segmentation", "fcn32s"): _VGG,
    ("segmentation", "fcn16s"): _VGG,
    ("segmentation", "fcn8s"): _VGG,
    ("segmentation", "segnet"): {"width": 4},
    ("segmentation", "deconvnet"): {"width": 4, "hidden": 8},
    ("segmentation", "deeplabv3"): _DEEPLAB,
    ("segmentation", "deeplabv3plus"): {**_DEEPLAB, "low_channels": 4},
    ("segmentation", "dilated"): {**_THIN, "channels": 8, "dropout": 0.0},
    ("captioning", "show_and_tell"): _RECURRENT,
    ("captioning", "show_attend_tell"): {**_RECURRENT, "attention": 5},
    ("captioning", "transformer"): _TRANSFORMER,
}

SIZES = {("classification", name): (96, 96) for name in ("inception_resnet_v2", "inception_v3", "xception")}
"""Of networks that take no smaller images."""

VARIANTS: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {
    ("detection", "yolo, deeper"): ("yolo", {"width": 4, "depth": 2, "bins": 8}),
    ("detection", "retinanet of csp, group norm"): (
        "retinanet",
        {"backbone": "csp", "backbone_options": {"width": 4}, "channels": 8, "depth": 1, "norm": "group"},
    ),
    ("detection", "retinanet as published"): (
        "retinanet",
        {**_THIN, "channels": 8, "depth": 1, "norm": "none", "levels": (3, 7), "box_loss": "ciou"},
    ),
    ("detection", "ssd of resnet18"): ("ssd", {**_THIN, "backbone": "resnet18", "extra_channels": 16}),
    ("detection", "ssd as published"): ("ssd", {**_THIN, "normalized": False}),
    ("detection", "ssd of mobilenet_v2"): (
        "ssd",
        {"backbone": "mobilenet_v2", "backbone_options": {"alpha": 0.35}, "extra_channels": 16},
    ),
    ("detection", "yolov1 of darknet"): (
        "yolov1",
        {**_THIN, "backbone": "darknet", "neck": 8, "hidden": 16, "dropout": 0.5, "grid": 5},
    ),
    ("detection", "faster_rcnn as published"): ("faster_rcnn", {**_FASTER, "levels": (4, 4), "pooling": "pool"}),
    ("detection", "fast_rcnn of a pyramid"): (
        "fast_rcnn",
        {**_REGIONS, "scales": (0.5, 1.0), "levels": (3, 5), "channels": 8, "pooling": "align", "norm": "group"},
    ),
    ("segmentation", "unet of vgg16, as published"): (
        "unet",
        {**_THIN, "backbone": "vgg16", "width": 4, "depth": 2, "finest": 1},
    ),
    ("segmentation", "unet of csp, transposed"): ("unet", {**_THIN, "backbone": "csp", "upsampling": "transposed"}),
    ("segmentation", "unet of mobilenet_v2"): (
        "unet",
        {"backbone": "mobilenet_v2", "backbone_options": {"alpha": 0.35}, "width": 4, "finest": 4},
    ),
    ("segmentation", "unet of resnet18, every stride"): ("unet", {**_THIN, "width": 4, "finest": 1}),
    ("segmentation", "fcn8s of resnet18"): (
        "fcn8s",
        {**_THIN, "backbone": "resnet18", "hidden": 8, "learned_enlarging": True},
    ),
    ("segmentation", "segnet of four blocks"): ("segnet", {"width": 4, "blocks": (1, 1, 2, 1)}),
    ("segmentation", "deeplabv3 at stride 8"): ("deeplabv3", {**_DEEPLAB, "output_stride": 8}),
    ("segmentation", "deeplabv3plus at stride 8"): (
        "deeplabv3plus",
        {**_DEEPLAB, "low_channels": 4, "output_stride": 8},
    ),
    ("segmentation", "deeplabv3 of vgg16"): ("deeplabv3", {**_DEEPLAB, "backbone": "vgg16"}),
    ("segmentation", "dilated with the large context"): (
        "dilated",
        {**_THIN, "channels": 4, "dropout": 0.0, "context": "large"},
    ),
    ("segmentation", "dilated front end of vgg16, as published"): (
        "dilated",
        {
            "backbone": "vgg16",
            "backbone_options": {"width": 4, "normalized": False},
            "hidden": 8,
            "context": "none",
            "dropout": 0.0,
        },
    ),
    ("segmentation", "dilated of vgg16"): (
        "dilated",
        {**_THIN, "channels": 8, "dropout": 0.0, "backbone": "vgg16", "hidden": 8},
    ),
    ("captioning", "show_and_tell, rnn"): ("show_and_tell", {**_RECURRENT, "cell": "rnn", "image": "always"}),
    ("captioning", "show_and_tell, gru"): ("show_and_tell", {**_RECURRENT, "cell": "gru", "pooling": "flatten"}),
    ("captioning", "show_attend_tell, gru"): (
        "show_attend_tell",
        {**_RECURRENT, "attention": 5, "cell": "gru", "places": False},
    ),
    ("captioning", "transformer, as published"): (
        "transformer",
        {**_TRANSFORMER, "positions": "sinusoidal", "activation": "gelu_tanh", "backbone": "csp"},
    ),
}


def small(task: str, name: str) -> Case:
    """Returns the case of a registered network or of a variant."""
    if (task, name) in VARIANTS:
        model, options = VARIANTS[task, name]
        return Case(task, model, options, name)
    return Case(task, name, SMALL.get((task, name), {}), image_size=SIZES.get((task, name), Case.image_size))
