"""Regions that no network proposes: windows, what OpenCV finds, and the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from cvserve.artifact import PreprocSpec
from cvserve.errors import ExportError, MissingExtra
from cvserve.export.network import Network
from cvserve.models import build_model
from cvserve.models.detection import given_regions
from cvserve.models.detection.given_regions import FoundRegions, GridRegions, windows

SMALL: dict[str, Any] = {"backbone_options": {"width": 4}, "units": 8, "sampled": 8}


def test_windows_by_hand() -> None:
    # Squares of half the side: three in each direction, each half over its neighbour; then the whole image.
    boxes = windows((64, 64), (0.5, 1.0), (1.0,))
    wanted = [[x, y, x + 32, y + 32] for y in (0, 16, 32) for x in (0, 16, 32)] + [[0, 0, 64, 64]]
    np.testing.assert_array_equal(boxes, wanted)


@pytest.mark.parametrize("size", [(64, 64), (96, 64), (33, 200)])
def test_windows_are_inside_and_all_different(size: tuple[int, int]) -> None:
    boxes = windows(size, (0.125, 0.3, 1.0), (0.2, 1.0, 3.0))
    assert boxes[:, :2].min() >= 0
    assert (boxes[:, 2:].max(axis=0) <= np.array([size[1], size[0]]) + 1e-3).all()
    assert ((boxes[:, 2:] - boxes[:, :2]) > 0).all()
    assert len(np.unique(boxes, axis=0)) == len(boxes)
    # Every point of the image is in some window of every size.
    corners = np.array([[0, 0], [size[1], 0], [0, size[0]], [size[1], size[0]]]) * 0.998 + 0.05
    for x, y in corners:
        inside = (boxes[:, 0] <= x) & (x <= boxes[:, 2]) & (boxes[:, 1] <= y) & (y <= boxes[:, 3])
        assert inside.sum() >= 7


def test_every_image_has_the_same_windows() -> None:
    layer = GridRegions((64, 64), (0.5,), (1.0, 2.0))
    answer = layer(np.zeros((3, 64, 64, 3), np.uint8)).numpy()
    for row in answer:
        np.testing.assert_array_equal(row, windows((64, 64), (0.5,), (1.0, 2.0)))


@pytest.fixture
def fake_search(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stands in for OpenCV's contributed modules: one box, as far right as the image is bright. Tells its calls."""
    calls: list[str] = []

    def find(pixels: np.ndarray, method: str, count: int) -> np.ndarray:
        calls.append(method)
        return np.array([[0, 0, 1 + int(pixels.max()), 10]], np.float32)[:count]

    monkeypatch.setattr(given_regions, "find_regions", find)
    return calls


def test_regions_are_found_once_for_the_same_pixels(fake_search: list[str]) -> None:
    layer = FoundRegions("edge_boxes", 3)
    images = np.zeros((3, 16, 16, 3), np.uint8)
    images[1] = 20
    run = tf.function(layer, input_signature=[tf.TensorSpec((None, 16, 16, 3), tf.uint8)])
    for _ in range(2):
        answer = run(images).numpy()
        assert answer[:, 0, 2].tolist() == [1, 21, 1]
        assert not answer[:, 1:].any()
    assert fake_search == ["edge_boxes"] * 2


@pytest.mark.parametrize("name", ["fast_rcnn", "rcnn"])
def test_a_network_that_uses_opencv_trains_and_cannot_be_exported(
    name: str, fake_search: list[str], tmp_path: Path
) -> None:
    options = {**SMALL, "proposals": "selective_search", "count": 10}
    if name == "rcnn":
        options["crop"] = 32
    detector = build_model("detection", name, num_classes=2, image_size=64, **options)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    parts = detector.loss(images, tf.constant([[[0, 0, 30.0, 10]]] * 2), tf.constant([[1]] * 2))
    assert all(np.isfinite(part) for part in parts.values())
    detector.network.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    for role, values in loaded(images, training=False).items():
        np.testing.assert_allclose(values, detector.network(images, training=False)[role], atol=1e-5)
    with pytest.raises(ExportError, match="selective_search are found by OpenCV, which no exported graph holds"):
        Network(detector.network, PreprocSpec(height=64, width=64, resize="letterbox"))


@pytest.mark.skipif(hasattr(cv2, "ximgproc"), reason="this OpenCV has the contributed modules")
def test_missing_contributed_modules_are_reported_before_training() -> None:
    with pytest.raises(MissingExtra, match=r"cvserve\[proposals\]"):
        build_model("detection", "fast_rcnn", num_classes=2, image_size=64, proposals="selective_search", count=64)


@pytest.mark.parametrize("name", ["fast_rcnn", "rcnn"])
def test_given_proposals_are_a_second_input(name: str) -> None:
    options = {**SMALL, "proposals": "given", "count": 12}
    if name == "rcnn":
        options["crop"] = 32
    detector = build_model("detection", name, num_classes=2, image_size=64, **options)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 64, 64, 3), np.uint8)
    proposals = np.tile(np.array([10, 10, 40, 40], np.float32), (2, 12, 1))
    proposals[:, 5:] = 0
    answers = detector.network([images, proposals], training=False)
    np.testing.assert_array_equal(answers["proposals"], proposals)
    # What fills up is background for certain.
    share = tf.nn.softmax(answers["class_logits"]).numpy()
    np.testing.assert_allclose(share[:, 5:, 0], 1.0)
    assert share[:, :5, 0].max() < 0.9
    parts = detector.loss((images, proposals), tf.constant([[[10, 10, 38.0, 40]]] * 2), tf.constant([[1]] * 2))
    assert all(np.isfinite(part) for part in parts.values())
    with pytest.raises(ExportError, match="one input, images, not 2"):
        Network(detector.network, PreprocSpec(height=64, width=64, resize="letterbox"))
