"""What is special about classifiers; what all networks have in common: test_every_network.py."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from cvserve.errors import InvalidInput, NotFound
from cvserve.models import create_model
from cvserve.models.backbones import load_backbone_weights
from cvserve.models.backbones.applications import APPLICATIONS


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
    keras.Model(inputs, keras.layers.Conv2D(2, 1, name="other")(inputs)).save(folder / "other.keras")
    return folder / "other.keras"
