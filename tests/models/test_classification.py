"""The questions asked of every classifier."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from cvserve.errors import InvalidInput, NotFound
from cvserve.models import create_model
from cvserve.models.backbones import load_backbone_weights
from cvserve.models.backbones.applications import APPLICATIONS

# One of each family and pixel range; the others differ in depth alone.
MODELS = {
    "resnet18": {"width": 8},
    "resnet34": {"width": 8, "stem": "deep", "shortcut": "pooled"},
    "resnet20": {},
    "mobilenet_v2": {"alpha": 0.35},
    "mobilenet_v3_small": {},
    "efficientnet_b0": {},
    "densenet121": {},
}


@pytest.mark.parametrize("name", MODELS)
def test_answers_probabilities_for_uint8_images(name: str) -> None:
    model = create_model("classification", name, num_classes=7, image_size=64, **MODELS[name])
    assert model.inputs[0].dtype == "uint8"
    assert model.inputs[0].name == "images"
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    answer = model(images, training=False)["probabilities"].numpy()
    assert answer.shape == (3, 7)
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-5)
    assert model.get_layer("logits").output.shape == (None, 7)


@pytest.mark.parametrize("name", ["resnet18", "resnet20", "mobilenet_v2"])
def test_survives_saving_and_loading(name: str, tmp_path: Path) -> None:
    model = create_model("classification", name, num_classes=3, image_size=32, **MODELS[name])
    images = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), np.uint8)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(
        model(images, training=False)["probabilities"], loaded(images, training=False)["probabilities"]
    )


@pytest.mark.parametrize(
    ("name", "classes", "millions"),
    [
        ("resnet20", 10, 0.27),  # He et al. 2015, table 6
        ("resnet18", 1000, 11.7),  # torchvision: 11,689,512
        ("resnet34", 1000, 21.8),  # torchvision: 21,797,672
    ],
)
def test_parameters_are_those_published(name: str, classes: int, millions: float) -> None:
    model = create_model("classification", name, num_classes=classes)
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert round(trainable / 1e6, 1 if millions > 1 else 2) == millions


def test_every_application_exists_in_keras() -> None:
    for application in APPLICATIONS.values():
        assert callable(getattr(keras.applications, application.constructor))


@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2", "densenet121"])
def test_pixel_range_is_the_one_of_keras(name: str) -> None:
    """caffe, symmetric and imagenet against keras.applications.imagenet_utils."""
    mode = {"caffe": "caffe", "symmetric": "tf", "imagenet": "torch"}[APPLICATIONS[name].pixels]
    from cvserve.models.layers import pixel_range

    images = np.random.default_rng(2).integers(0, 256, (2, 5, 5, 3), np.uint8)
    inputs = keras.Input((5, 5, 3), dtype="uint8")
    scaled = keras.Model(inputs, pixel_range(inputs, APPLICATIONS[name].pixels))(images).numpy()
    expected = keras.applications.imagenet_utils.preprocess_input(images.astype(np.float32), mode=mode)
    np.testing.assert_allclose(scaled, expected, atol=1e-4)


def test_a_backbone_takes_weights_of_another_training(tmp_path: Path) -> None:
    trained = create_model("classification", "resnet20", num_classes=3, image_size=32)
    trained.save(tmp_path / "trained.keras")
    fresh = create_model(
        "classification", "resnet20", num_classes=5, image_size=32, weights=str(tmp_path / "trained.keras")
    )
    stem = next(layer.name for layer in fresh.layers if layer.name.endswith("_conv"))
    np.testing.assert_array_equal(fresh.get_layer(stem).get_weights()[0], trained.get_layer(stem).get_weights()[0])
    assert fresh.get_layer("logits").get_weights()[0].shape == (64, 5)

    other = create_model("classification", "resnet18", num_classes=5, image_size=32, width=8)
    with pytest.raises(InvalidInput, match="nothing in"):
        load_backbone_weights(other, _renamed(tmp_path))
    with pytest.raises(NotFound):
        load_backbone_weights(other, tmp_path / "missing.keras")


def _renamed(folder: Path) -> Path:
    inputs = keras.Input((4, 4, 3))
    keras.Model(inputs, keras.layers.Conv2D(2, 1, name="foreign")(inputs)).save(folder / "foreign.keras")
    return folder / "foreign.keras"
