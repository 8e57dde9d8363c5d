"""Builds the backbones of keras.applications, each with the pixel range that it was trained on."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras

from cvserve.errors import InvalidInput
from cvserve.models.backbones.registry import Backbone, register_backbone
from cvserve.models.backbones.weights import Features, load_backbone_weights
from cvserve.models.layers import pixel_range
from cvserve.models.registry import Paper


@dataclass(frozen=True)
class Application:
    """Describes keras.applications.<constructor>.

    pixels: the range of `pixel_range`. parameters: with 1000 classes. image_size: the network's own, in pixels.
    """

    constructor: str
    pixels: str
    parameters: int
    paper: Paper
    image_size: int = 224


_CONVNEXT = Paper("A ConvNet for the 2020s", "Liu et al.", 2022, "2201.03545")
_DENSENET = Paper("Densely Connected Convolutional Networks", "Huang et al.", 2016, "1608.06993")
_EFFICIENTNET = Paper(
    "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", "Tan & Le", 2019, "1905.11946"
)
_EFFICIENTNET_V2 = Paper("EfficientNetV2: Smaller Models and Faster Training", "Tan & Le", 2021, "2104.00298")
_INCEPTION_RESNET = Paper(
    "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning",
    "Szegedy et al.",
    2016,
    "1602.07261",
)
_INCEPTION_V3 = Paper("Rethinking the Inception Architecture for Computer Vision", "Szegedy et al.", 2015, "1512.00567")
_MOBILENET = Paper(
    "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications",
    "Howard et al.",
    2017,
    "1704.04861",
)
_MOBILENET_V2 = Paper("MobileNetV2: Inverted Residuals and Linear Bottlenecks", "Sandler et al.", 2018, "1801.04381")
_MOBILENET_V3 = Paper("Searching for MobileNetV3", "Howard et al.", 2019, "1905.02244")
_NASNET = Paper("Learning Transferable Architectures for Scalable Image Recognition", "Zoph et al.", 2017, "1707.07012")
_RESNET = Paper("Deep Residual Learning for Image Recognition", "He et al.", 2015, "1512.03385")
_RESNET_V2 = Paper("Identity Mappings in Deep Residual Networks", "He et al.", 2016, "1603.05027")
_VGG = Paper(
    "Very Deep Convolutional Networks for Large-Scale Image Recognition", "Simonyan & Zisserman", 2014, "1409.1556"
)
_XCEPTION = Paper("Xception: Deep Learning with Depthwise Separable Convolutions", "Chollet", 2016, "1610.02357")

# The range is that of keras.applications.<family>.preprocess_input; "raw" where the network scales the pixels itself.
APPLICATIONS: dict[str, Application] = {
    "convnext_tiny": Application("ConvNeXtTiny", "raw", 28_589_128, _CONVNEXT),
    "convnext_small": Application("ConvNeXtSmall", "raw", 50_223_688, _CONVNEXT),
    "convnext_base": Application("ConvNeXtBase", "raw", 88_591_464, _CONVNEXT),
    "densenet121": Application("DenseNet121", "imagenet", 7_978_856, _DENSENET),
    "densenet169": Application("DenseNet169", "imagenet", 14_149_480, _DENSENET),
    "densenet201": Application("DenseNet201", "imagenet", 20_013_928, _DENSENET),
    "efficientnet_b0": Application("EfficientNetB0", "raw", 5_288_548, _EFFICIENTNET),
    "efficientnet_b1": Application("EfficientNetB1", "raw", 7_794_184, _EFFICIENTNET, 240),
    "efficientnet_b2": Application("EfficientNetB2", "raw", 9_109_994, _EFFICIENTNET, 260),
    "efficientnet_b3": Application("EfficientNetB3", "raw", 12_233_232, _EFFICIENTNET, 300),
    "efficientnet_b4": Application("EfficientNetB4", "raw", 19_341_616, _EFFICIENTNET, 380),
    "efficientnet_b5": Application("EfficientNetB5", "raw", 30_389_784, _EFFICIENTNET, 456),
    "efficientnet_b6": Application("EfficientNetB6", "raw", 43_040_704, _EFFICIENTNET, 528),
    "efficientnet_b7": Application("EfficientNetB7", "raw", 66_347_960, _EFFICIENTNET, 600),
    "efficientnet_v2_b0": Application("EfficientNetV2B0", "raw", 7_139_704, _EFFICIENTNET_V2),
    "efficientnet_v2_b1": Application("EfficientNetV2B1", "raw", 8_141_052, _EFFICIENTNET_V2, 240),
    "efficientnet_v2_b2": Application("EfficientNetV2B2", "raw", 10_096_086, _EFFICIENTNET_V2, 260),
    "efficientnet_v2_b3": Application("EfficientNetV2B3", "raw", 14_358_406, _EFFICIENTNET_V2, 300),
    "efficientnet_v2_s": Application("EfficientNetV2S", "raw", 21_458_488, _EFFICIENTNET_V2, 384),
    "efficientnet_v2_m": Application("EfficientNetV2M", "raw", 54_139_356, _EFFICIENTNET_V2, 480),
    "efficientnet_v2_l": Application("EfficientNetV2L", "raw", 118_515_272, _EFFICIENTNET_V2, 480),
    "inception_resnet_v2": Application("InceptionResNetV2", "symmetric", 55_813_192, _INCEPTION_RESNET, 299),
    "inception_v3": Application("InceptionV3", "symmetric", 23_817_352, _INCEPTION_V3, 299),
    "mobilenet": Application("MobileNet", "symmetric", 4_231_976, _MOBILENET),
    "mobilenet_v2": Application("MobileNetV2", "symmetric", 3_504_872, _MOBILENET_V2),
    "mobilenet_v3_small": Application("MobileNetV3Small", "raw", 1_504_008, _MOBILENET_V3),
    "mobilenet_v3_large": Application("MobileNetV3Large", "raw", 3_932_952, _MOBILENET_V3),
    "nasnet_mobile": Application("NASNetMobile", "symmetric", 5_289_978, _NASNET),
    "nasnet_large": Application("NASNetLarge", "symmetric", 88_753_150, _NASNET, 331),
    "resnet50": Application("ResNet50", "caffe", 25_583_592, _RESNET),
    "resnet101": Application("ResNet101", "caffe", 44_601_832, _RESNET),
    "resnet152": Application("ResNet152", "caffe", 60_268_520, _RESNET),
    "resnet50_v2": Application("ResNet50V2", "symmetric", 25_568_360, _RESNET_V2),
    "resnet101_v2": Application("ResNet101V2", "symmetric", 44_577_896, _RESNET_V2),
    "resnet152_v2": Application("ResNet152V2", "symmetric", 60_236_904, _RESNET_V2),
    "vgg16": Application("VGG16", "caffe", 15_227_688, _VGG),
    "vgg19": Application("VGG19", "caffe", 20_537_384, _VGG),
    "xception": Application("Xception", "symmetric", 22_855_952, _XCEPTION, 299),
}


def application_backbone(
    name: str, image_shape: tuple[int, ...], *, weights: str | None, **options: object
) -> keras.Model:
    """Builds a keras.applications network without its head.

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
    # Keras finds the blocks of EfficientNetV2 by the name, so that it must stay its own.
    name_option = {} if constructor.__name__.startswith("EfficientNetV2") else {"name": name}
    try:
        backbone: keras.Model = constructor(
            include_top=False, weights=weights, input_shape=tuple(image_shape), **name_option, **options
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
    return backbone if name_option else keras.Model(backbone.inputs, backbone.outputs[0], name=name)


def application_features(
    name: str, images: keras.KerasTensor, *, weights: str | None, **options: Any
) -> keras.KerasTensor:
    """Returns the last feature map of a keras.applications backbone, which becomes one layer.

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


def application_stages(name: str, images: keras.KerasTensor, *, weights: str | None, **options: Any) -> Features:
    """Returns the feature maps of strides 4, 8, 16 and 32 that a keras.applications backbone has.

    Args:
        images: uint8 [B, H, W, 3], RGB.
        weights: "imagenet", a file, or None.
        name, options: as of `application_backbone`.

    Raises:
        InvalidInput: as `application_backbone`, and weights that do not fit. NotFound: no such file.
    """
    scaled = pixel_range(images, APPLICATIONS[name].pixels)
    downloaded = weights if weights == "imagenet" else None
    backbone = application_backbone(name, scaled.shape[1:], weights=downloaded, **options)
    if weights != downloaded:
        load_backbone_weights(backbone, str(weights))
    ends = last_of_each_stride(backbone)
    if not ends:
        raise InvalidInput(f"backbone {name} has no feature maps of stride 4, 8, 16 or 32")
    inner = keras.Model(backbone.inputs, list(ends.values()), name=name)
    maps = inner(scaled)
    return dict(zip(ends, maps if isinstance(maps, list | tuple) else [maps], strict=True))


def last_of_each_stride(backbone: keras.Model) -> Features:
    """Returns, of strides 4, 8, 16 and 32, the output of the last layer whose map has the size of that stride.

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
            # A map of one pixel belongs to attention over channels; it is no feature map.
            if (shape[1], shape[2]) in fits and shape[1] * shape[2] > 1:
                ends[stride] = layer.output
    return dict(sorted(ends.items()))


for _name, _application in APPLICATIONS.items():
    if _name != "vgg16":  # vgg.py has another one, which trains from scratch and pools as SSD needs it
        register_backbone(
            Backbone(
                _name,
                partial(application_stages, _name),
                f"keras.applications.{_application.constructor}",
                _application.paper,
                _application.image_size,
                _application.parameters,
                last=partial(application_features, _name),
            )
        )
