"""What is special about segmentation networks; what all networks have in common: test_every_network.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from models.cases import SMALL

from cvserve.errors import InvalidInput
from cvserve.models import Built, build_model, list_models

SIZE = (64, 96)
CLASSES = 5


def _small(name: str, image_size: tuple[int, int] = SIZE, **more: Any) -> Built:
    keras.utils.set_random_seed(0)
    options = {"num_classes": CLASSES, **SMALL["segmentation", name], **more}
    return build_model("segmentation", name, image_size=image_size, **options)


def _images(count: int = 2, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Noise, with a patch of one color: windows of equal values for the switches."""
    images = np.random.default_rng(0).integers(0, 256, (count, *size, 3), np.uint8)
    images[:, 8:40, 8:40] = 90
    return images


@pytest.mark.parametrize("name", list_models("segmentation"))
def test_other_sizes_keep_the_weights(name: str, tmp_path: Path) -> None:
    """The network of one size fills that of another, the smallest, and the default one."""
    trained = _small(name)
    trained.network.save_weights(tmp_path / "model.weights.h5")
    for size in ((32, 32), (96, 64)):
        other = _small(name, size)
        other.network.load_weights(tmp_path / "model.weights.h5")
        assert other.network(_images(1, (size[0], size[1])), training=False)["class_map"].shape == (1, *size)


def test_fcn32s_learns_its_last_enlarging_only_if_asked() -> None:
    """fcn32s holds its last enlarging at bilinear interpolation, unless an option says otherwise."""
    fixed, learned = (_small("fcn32s", learned_enlarging=value) for value in (False, True))
    assert "enlarged/kernel" not in {variable.path for variable in fixed.network.trainable_variables}
    assert "enlarged/kernel" in {variable.path for variable in learned.network.trainable_variables}


@pytest.mark.parametrize("context", ["basic", "large"])
def test_a_context_module_stops_no_class(context: str) -> None:
    """A class whose scores are below zero everywhere, which the module's ReLUs would stop, can still be learned."""
    logits = build_model(
        "segmentation",
        "dilated",
        num_classes=3,
        image_size=SIZE,
        **{**SMALL["segmentation", "dilated"], "context": context},
    ).logits
    scores = logits.get_layer("scores")
    scores.bias.assign([0.0, 0.0, -1e3])
    images = np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3), np.uint8)
    inside = [logits.get_layer(name).kernel for name in ("reduced_conv", "context_1", "context_8")]
    with tf.GradientTape() as tape:
        score = tf.reduce_mean(logits(images, training=True)[..., 2])
    assert score < -900
    to_bias, *to_kernels = tape.gradient(score, [weights.value for weights in (scores.bias, scores.kernel, *inside)])
    assert float(to_bias[2]) == pytest.approx(1.0, rel=1e-4)
    for gradient in to_kernels:
        assert np.abs(gradient).max() > 1e-3


def test_a_new_context_module_passes_on_all_features() -> None:
    logits = build_model(
        "segmentation", "dilated", num_classes=3, image_size=SIZE, **SMALL["segmentation", "dilated"]
    ).logits
    ends = [logits.get_layer(name).output for name in ("reduced_relu", "context_8")]
    images = np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3), np.uint8)
    before, after = keras.Model(logits.inputs, ends)([images], training=True)
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)
    assert (np.asarray(before).max(axis=(0, 1, 2)) > 0.5).all()


@pytest.mark.parametrize("stride", [8, 16])
def test_dilated_vgg16_keeps_its_weights_and_sees_as_far(stride: int) -> None:
    """Yu & Koltun's front end: of the poolings that are left out, each doubles the dilation of what is behind it."""
    from cvserve.models.backbones import backbone_features

    images = keras.Input((128, 128, 3), dtype="uint8")
    whole, dilated = (backbone_features(images, "vgg16", width=4, output_stride=beyond) for beyond in (32, stride))
    assert dilated[stride].shape == (None, 128 // stride, 128 // stride, 32)
    assert max(dilated) == stride
    plain, other = (keras.Model(images, list(stages.values())) for stages in (whole, dilated))
    named = [
        {layer.name: [weight.shape for weight in layer.weights] for layer in model.layers if layer.weights}
        for model in (plain, other)
    ]
    assert named[0] == named[1]
    rates = [layer.dilation_rate[0] for layer in other.layers if hasattr(layer, "kernel")]
    assert rates == {8: [1] * 10 + [2] * 3, 16: [1] * 13}[stride]


@pytest.mark.parametrize("name", ["dilated", "deeplabv3"])
def test_a_vgg16_of_another_run_fills_a_dilated_one(name: str, tmp_path: Path) -> None:
    vgg16 = {"backbone": "vgg16", "backbone_options": {"width": 4}}
    other = build_model(
        "segmentation", "fcn8s", num_classes=3, image_size=SIZE, **SMALL["segmentation", "fcn8s"]
    ).network
    file = tmp_path / "fcn8s.keras"
    other.save(file)
    options = {**SMALL["segmentation", name], **vgg16}
    filled = build_model("segmentation", name, num_classes=4, image_size=SIZE, weights=str(file), **options).network
    for layer in ("block1_conv1", "block5_conv3"):
        np.testing.assert_array_equal(filled.get_layer(layer).kernel, other.get_layer(layer).kernel)


@pytest.mark.parametrize("stride", [8, 16])
def test_dilated_backbones_see_as_far(stride: int) -> None:
    """The last map is as large as asked, and its pixels look as far as those of stride 32 did, or further."""
    from cvserve.models.backbones import backbone_features

    images = keras.Input((128, 128, 3), dtype="uint8")
    dilated = backbone_features(images, "resnet18", width=4, output_stride=stride)
    assert max(dilated) == stride
    assert dilated[stride].shape == (None, 128 // stride, 128 // stride, 32)
    weights = [layer.dilation_rate for layer in keras.Model(images, dilated[stride]).layers if hasattr(layer, "kernel")]
    assert max(weights) == (32 // stride, 32 // stride)


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("unet", {"image_size": 100}, "multiples of 32 pixels, not 100 x 100"),
        ("unet", {"num_classes": 1}, "from 2 to 255 classes, not 1"),
        ("unet", {"finest": 3}, "finest stride of 1, 2 or 4 pixels, not 3"),
        ("unet", {"width": 0}, "width of at least 4"),
        ("unet", {"upsampling": "cubic"}, "no upsampling 'cubic'; known: nearest, transposed"),
        ("unet", {"dropout": 1}, "dropout from 0 to below 1, not 1"),
        ("unet", {"backbone": "resnet18x"}, "no backbone 'resnet18x'"),
        ("unet", {"backbone_options": [1]}, "names with values"),
        ("unet", {"backbone_options": {"widht": 4}}, "takes no option 'widht'"),
        ("unet", {"depht": 4}, "takes no such option: 'depht'"),
        ("fcn8s", {"hidden": 2.5}, "hidden of at least 8, a whole number, not 2.5"),
        ("fcn8s", {"finest": 4}, "takes no such option: 'finest'"),
        ("fcn16s", {"backbone_options": {"width": 16}, "weights": "imagenet"}, "width of 64"),
        ("segnet", {"blocks": (2, 0)}, "blocks as some whole numbers above 0"),
        ("segnet", {"blocks": (1,) * 6}, "up to five blocks, not 6"),
        ("segnet", {"weights": "imagenet"}, "segnet has no imagenet weights"),
        ("deconvnet", {"hidden": 0}, "hidden of at least 8"),
        ("deeplabv3", {"has_decoder": True}, "takes no such option: 'has_decoder'"),
        ("deeplabv3", {"output_stride": 4}, "output_stride of 16 or 8, not 4"),
        ("deeplabv3plus", {"backbone": "csp"}, "can be dilated \\(known: resnet18, resnet34, vgg16\\), not 'csp'"),
        ("deeplabv3plus", {"weights": "imagenet"}, "imagenet weights for the backbone vgg16 with a width of 64 only"),
        ("deeplabv3", {"backbone_options": {"output_stride": 8}}, "sets its backbone's output_stride itself"),
        ("deeplabv3plus", {"rates": ()}, "rates as some whole numbers above 0"),
        ("dilated", {"backbone": "darknet"}, "can be dilated .*, not 'darknet'"),
        ("dilated", {"hidden": 16}, "hidden layers behind vgg16 only, not behind resnet18"),
        ("unet", {"backbone_options": {"output_stride": 12}}, "a power of two as output_stride, not 12"),
        ("dilated", {"backbone": "vgg16", "weights": "imagenet"}, "width of 64"),
        ("dilated", {"channels": 2}, "channels of at least 4"),
        ("dilated", {"context": "huge"}, "no context 'huge'; known: basic, large, none"),
    ],
)
def test_invalid_options_are_one_sentence(name: str, options: dict[str, Any], sentence: str) -> None:
    given = {"num_classes": CLASSES, "image_size": SIZE, **options}
    with pytest.raises(InvalidInput, match=sentence):
        build_model("segmentation", name, **given)
