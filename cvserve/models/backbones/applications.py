"""The backbones of keras.applications, each with the pixel range it was trained on."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import keras

from cvserve.errors import InvalidInput
from cvserve.models.layers import pixel_range


@dataclass(frozen=True)
class Application:
    """keras.applications.<constructor>; pixels: the range of `pixel_range`; image_size: its own default."""

    constructor: str
    pixels: str
    image_size: int = 224


# The range is what keras.applications.<family>.preprocess_input does; "raw" where the network scales inside.
APPLICATIONS: dict[str, Application] = {
    "convnext_tiny": Application("ConvNeXtTiny", "raw"),
    "convnext_small": Application("ConvNeXtSmall", "raw"),
    "convnext_base": Application("ConvNeXtBase", "raw"),
    "densenet121": Application("DenseNet121", "imagenet"),
    "densenet169": Application("DenseNet169", "imagenet"),
    "densenet201": Application("DenseNet201", "imagenet"),
    "efficientnet_b0": Application("EfficientNetB0", "raw"),
    "efficientnet_b1": Application("EfficientNetB1", "raw", 240),
    "efficientnet_b2": Application("EfficientNetB2", "raw", 260),
    "efficientnet_b3": Application("EfficientNetB3", "raw", 300),
    "efficientnet_b4": Application("EfficientNetB4", "raw", 380),
    "efficientnet_b5": Application("EfficientNetB5", "raw", 456),
    "efficientnet_b6": Application("EfficientNetB6", "raw", 528),
    "efficientnet_b7": Application("EfficientNetB7", "raw", 600),
    "efficientnet_v2_b0": Application("EfficientNetV2B0", "raw"),
    "efficientnet_v2_b1": Application("EfficientNetV2B1", "raw", 240),
    "efficientnet_v2_b2": Application("EfficientNetV2B2", "raw", 260),
    "efficientnet_v2_b3": Application("EfficientNetV2B3", "raw", 300),
    "efficientnet_v2_s": Application("EfficientNetV2S", "raw", 384),
    "efficientnet_v2_m": Application("EfficientNetV2M", "raw", 480),
    "efficientnet_v2_l": Application("EfficientNetV2L", "raw", 480),
    "inception_resnet_v2": Application("InceptionResNetV2", "symmetric", 299),
    "inception_v3": Application("InceptionV3", "symmetric", 299),
    "mobilenet": Application("MobileNet", "symmetric"),
    "mobilenet_v2": Application("MobileNetV2", "symmetric"),
    "mobilenet_v3_small": Application("MobileNetV3Small", "raw"),
    "mobilenet_v3_large": Application("MobileNetV3Large", "raw"),
    "nasnet_mobile": Application("NASNetMobile", "symmetric"),
    "nasnet_large": Application("NASNetLarge", "symmetric", 331),
    "resnet50": Application("ResNet50", "caffe"),
    "resnet101": Application("ResNet101", "caffe"),
    "resnet152": Application("ResNet152", "caffe"),
    "resnet50_v2": Application("ResNet50V2", "symmetric"),
    "resnet101_v2": Application("ResNet101V2", "symmetric"),
    "resnet152_v2": Application("ResNet152V2", "symmetric"),
    "vgg16": Application("VGG16", "caffe"),
    "vgg19": Application("VGG19", "caffe"),
    "xception": Application("Xception", "symmetric", 299),
}


def application_backbone(
    name: str, image_shape: tuple[int, ...], *, weights: str | None, **options: object
) -> keras.Model:
    """A keras.applications network without its head.

    Args:
        name: a key of APPLICATIONS.
        image_shape: (height, width, 3).
        weights: "imagenet" or None.
        options: passed to the constructor (`alpha=0.5` for the MobileNets, ...).

    Returns:
        A model of one input, float [B, H, W, 3] in the range `APPLICATIONS[name].pixels`, called `name`.

    Raises:
        InvalidInput: a size or option that the backbone does not take, or weights that cannot be downloaded.
    """
    constructor = getattr(keras.applications, APPLICATIONS[name].constructor)
    known = inspect.signature(constructor).parameters
    for option in options:
        if option not in known or option in ("include_top", "weights", "input_tensor", "classes", "pooling"):
            raise InvalidInput(f"{name} takes no option {option!r}")
    try:
        backbone: keras.Model = constructor(
            include_top=False, weights=weights, input_shape=tuple(image_shape), name=name, **options
        )
    except ValueError as error:
        raise InvalidInput(f"{name} cannot be built: {' '.join(str(error).split())}") from error
    except Exception as error:  # keras raises a bare Exception when a download fails
        if weights is not None and "fetch" in str(error).lower():
            raise InvalidInput(
                f"the {weights} weights of {name} could not be downloaded ({' '.join(str(error).split())}); "
                "give a weights file, or none"
            ) from error
        raise
    return backbone


def application_features(
    images: keras.KerasTensor, name: str, *, weights: str | None, **options: object
) -> keras.KerasTensor:
    """The last feature map of a keras.applications backbone.

    Args:
        images: uint8 [B, H, W, 3], RGB.
        name, weights, options: as of `application_backbone`; a file is loaded afterwards by `load_backbone_weights`.

    Returns:
        float [B, h, w, C].

    Raises:
        InvalidInput: as `application_backbone`.
    """
    scaled = pixel_range(images, APPLICATIONS[name].pixels)
    return application_backbone(name, scaled.shape[1:], weights=weights, **options)(scaled)
