"""Backbones as feature maps of several strides."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from cvserve.errors import InvalidInput
from cvserve.models import create_model
from cvserve.models.backbones import backbone_features, list_backbones, pick_strides
from cvserve.models.backbones.applications import last_of_each_stride

# What each is called, its options, and the strides that it has.
CASES = [
    ("resnet18", {"width": 8}, (4, 8, 16, 32)),
    ("resnet34", {"width": 4, "stem": "deep", "shortcut": "pooled"}, (4, 8, 16, 32)),
    ("csp", {"width": 8}, (8, 16, 32)),
    ("darknet", {"width": 4}, (4, 8, 16, 32, 64)),
    ("vgg16", {"width": 4}, (1, 2, 4, 8, 16, 32)),
    ("mobilenet_v2", {"alpha": 0.35}, (4, 8, 16, 32)),
    ("mobilenet_v3_small", {}, (4, 8, 16, 32)),
    ("efficientnet_b0", {}, (4, 8, 16, 32)),
    ("resnet50", {}, (4, 8, 16, 32)),
]


@pytest.mark.parametrize(("name", "options", "strides"), CASES, ids=[name for name, _, _ in CASES])
def test_each_map_has_the_size_of_its_stride(name: str, options: dict[str, object], strides: tuple[int, ...]) -> None:
    images = keras.Input((128, 96, 3), dtype="uint8")
    features = backbone_features(images, name, **options)
    assert tuple(features) == strides
    for stride, values in features.items():
        assert values.shape[1:3] == (128 // stride if stride < 64 else 2, -(-96 // stride))
    # One network: what is asked for together is computed together.
    network = keras.Model(images, list(features.values()))
    answers = network(np.zeros((2, 128, 96, 3), np.uint8), training=False)
    assert all(np.isfinite(answer).all() for answer in answers)


def test_the_end_of_a_stride_is_the_layer_that_the_field_uses() -> None:
    """ResNet's last block of each stage; MobileNetV2's expansion before the stride (as in its SSDLite)."""
    resnet = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(64, 64, 3))
    expected = {4: "conv2_block3_out", 8: "conv3_block4_out", 16: "conv4_block6_out", 32: "conv5_block3_out"}
    assert {stride: resnet.get_layer(name).output for stride, name in expected.items()} == last_of_each_stride(resnet)
    mobile = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(300, 300, 3))
    ends = last_of_each_stride(mobile)
    assert ends[16] is mobile.get_layer("block_13_expand_relu").output
    assert [tuple(ends[stride].shape[1:3]) for stride in (8, 16, 32)] == [(38, 38), (19, 19), (10, 10)]


def test_darknet_has_the_24_convolutions_of_the_paper() -> None:
    images = keras.Input((448, 448, 3), dtype="uint8")
    features = backbone_features(images, "darknet", width=64)
    network = keras.Model(images, features[64])
    assert sum(isinstance(layer, keras.layers.Conv2D) for layer in network.layers) == 24
    assert features[64].shape == (None, 7, 7, 1024)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_a_classifiers_run_fills_the_backbone(name: str, tmp_path: Path) -> None:
    options = {"width": 8} if name == "resnet18" else {"alpha": 0.35}
    trained = create_model("classification", name, num_classes=3, image_size=64, **options)
    rng = np.random.default_rng(0)
    trained.set_weights([rng.uniform(0.1, 1, value.shape).astype(np.float32) for value in trained.get_weights()])
    trained.save(tmp_path / "model.keras")
    images = keras.Input((64, 64, 3), dtype="uint8")
    features = backbone_features(images, name, weights=str(tmp_path / "model.keras"), **options)
    network = keras.Model(images, features[32])
    given = {tuple(value.shape): value for value in _weights(trained)}
    taken = _weights(network)
    assert len(taken) > 40
    assert all((given[value.shape].min() >= 0.1) and value.min() >= 0.1 for value in taken)


def _weights(network: keras.Model) -> list[np.ndarray]:
    return [value for value in network.get_weights() if value.dtype == np.float32]


def test_vgg16_has_the_layers_of_keras() -> None:
    """So that its imagenet weights fit: same names, same shapes."""
    images = keras.Input((64, 64, 3), dtype="uint8")
    own = keras.Model(images, backbone_features(images, "vgg16", normalized=False)[32])
    keras_own = keras.applications.VGG16(include_top=False, weights=None, input_shape=(64, 64, 3))
    for layer in keras_own.layers:
        if layer.weights:
            twin = own.get_layer(layer.name)
            assert [tuple(weight.shape) for weight in twin.weights] == [tuple(weight.shape) for weight in layer.weights]
            twin.set_weights(layer.get_weights())
    photos = np.random.default_rng(3).integers(0, 256, (2, 64, 64, 3), np.uint8)
    scaled = keras.applications.vgg16.preprocess_input(photos.astype(np.float32))
    np.testing.assert_allclose(own(photos), keras_own(scaled), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("resnet19", {}, "there is no backbone 'resnet19'.*resnet18"),
        ("resnet18", {"widht": 8}, "takes no option 'widht'"),
        ("resnet18", {"width": 0}, "width of at least 2"),
        ("resnet18", {"stem": "conv9"}, "no stem 'conv9'"),
        ("csp", {"width": 1.5}, "width of at least 4"),
        ("csp", {"weights": "imagenet"}, "no imagenet weights"),
        ("mobilenet_v2", {"pooling": "avg"}, "takes no option 'pooling'"),
    ],
)
def test_invalid_options_are_one_sentence(name: str, options: dict[str, object], sentence: str) -> None:
    images = keras.Input((64, 64, 3), dtype="uint8")
    with pytest.raises(InvalidInput, match=sentence):
        backbone_features(images, name, **options)  # type: ignore[arg-type]


def test_a_missing_stride_is_named() -> None:
    images = keras.Input((64, 64, 3), dtype="uint8")
    features = backbone_features(images, "resnet18", width=8, stem="cifar")
    with pytest.raises(InvalidInput, match=r"no feature map of stride 16.*it has 1, 2, 4, 8"):
        pick_strides(features, (8, 16), "resnet18")


def test_the_list_names_own_and_keras_backbones_once() -> None:
    names = list_backbones()
    assert names == sorted(set(names))
    assert {"resnet18", "vgg16", "csp", "darknet", "mobilenet_v2", "resnet50"} <= set(names)
