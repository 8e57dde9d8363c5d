"""RoIAlign against the paper's formula, written with loops, and against an example by hand."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from cvserve.models.layers.roi_align import RoIAlign
from cvserve.models.layers.roi_levels import level_masks


def bilinear(features: np.ndarray, y: float, x: float) -> np.ndarray:
    """The map between its pixels, as Detectron2's ROIAlign_cpu.cpp reads it."""
    height, width, channels = features.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return np.zeros(channels)
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    down, across = y - top, x - left
    upper = features[top, left] * (1 - across) + features[top, right] * across
    lower = features[bottom, left] * (1 - across) + features[bottom, right] * across
    return upper * (1 - down) + lower * down


def brute_force(
    features: np.ndarray, box: np.ndarray, size: tuple[int, int], scale: float, sampling: int
) -> np.ndarray:
    """features [h, w, C], box in pixels: [rows, columns, C]."""
    rows, columns = size
    x1, y1, x2, y2 = box * scale - 0.5
    answer = np.zeros((rows, columns, features.shape[-1]))
    for row in range(rows):
        for column in range(columns):
            for i in range(sampling):
                for j in range(sampling):
                    y = y1 + (row + (i + 0.5) / sampling) * (y2 - y1) / rows
                    x = x1 + (column + (j + 0.5) / sampling) * (x2 - x1) / columns
                    answer[row, column] += bilinear(features, y, x)
    return answer / sampling**2


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    cells=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    sampling=st.integers(1, 3),
)
def test_equals_the_formula_with_loops(seed: int, cells: tuple[int, int], size: tuple[int, int], sampling: int) -> None:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(2, *cells, 3)).astype(np.float32)
    # Also out of the image and turned inside out, which proposals can be before clipping.
    boxes = rng.uniform(-40, 8 * max(cells) + 40, (2, 5, 4)).astype(np.float32)
    answer = RoIAlign(size, (8 * cells[0], 8 * cells[1]), sampling)(features, boxes)
    for image in range(2):
        for region in range(5):
            wanted = brute_force(features[image], boxes[image, region].astype(np.float64), size, 1 / 8, sampling)
            np.testing.assert_allclose(answer[image, region], wanted, atol=2e-4)


def test_a_region_of_whole_cells_is_the_mean_of_points_between_pixels() -> None:
    ramp = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    # Cells of 2 pixels; the region covers rows 1, 2 and columns 0, 1. Points at a quarter and three quarters of a bin
    # lie evenly around the pixel, and a ramp is linear: inside the map, bins are the pixels themselves.
    cut = RoIAlign((2, 2), (8, 8))(ramp, np.array([[[0, 2, 4, 6]]], np.float32))
    # Column 0: the left points lie beyond the map's border pixel, whose value goes on: (0 + 0.25) / 2 more than it.
    np.testing.assert_allclose(cut[0, 0, :, :, 0], [[4.125, 5.0], [8.125, 9.0]])
    one_pixel = RoIAlign((1, 1), (8, 8))(ramp, np.array([[[2, 2, 4, 4]]], np.float32))
    np.testing.assert_allclose(one_pixel[0, 0, 0, 0, 0], 5.0)


@pytest.mark.parametrize(
    ("side", "level"),
    [(1, 0), (111, 0), (112, 1), (223, 1), (224, 2), (447, 2), (448, 3), (900, 3), (0, 0)],
)
def test_regions_go_to_the_map_of_their_size(side: float, level: int) -> None:
    maps = [tf.zeros((1, 1024 // stride, 1024 // stride, 1)) for stride in (4, 8, 16, 32)]
    masks = level_masks(maps, tf.constant([[[10, 10, 10 + side, 10 + side]]], tf.float32), 1024)
    # k = floor(4 + log2(side / 224)) of stride 2 ** k: 224 pixels belong to stride 16, the third map.
    assert [bool(mask[0, 0]) for mask in masks] == [index == level for index in range(4)]


def test_a_pyramid_is_cut_from_the_map_of_the_level_alone() -> None:
    maps = [np.full((1, 512 // stride, 512 // stride, 2), stride, np.float32) for stride in (8, 16, 32)]
    boxes = np.array([[[30, 30, 60, 50], [100, 100, 400, 300], [10, 10, 510, 510], [0, 0, 0, 0]]], np.float32)
    cut = RoIAlign((3, 3), (512, 512))(maps, boxes).numpy()
    for region, value in enumerate((8, 16, 32, 8)):
        np.testing.assert_allclose(cut[0, region], value)


def test_features_get_gradients_and_boxes_none() -> None:
    features, boxes = tf.ones((1, 4, 4, 1)), tf.constant([[[0.0, 0, 32, 32]]])
    with tf.GradientTape() as tape:
        tape.watch([features, boxes])
        total = tf.reduce_sum(RoIAlign((2, 2), (32, 32))(features, boxes))
    of_features, of_boxes = tape.gradient(total, [features, boxes])
    assert float(tf.reduce_sum(of_features)) == pytest.approx(4.0)
    assert of_boxes is None


def test_boxes_keep_their_precision_in_a_network_of_half_precision() -> None:
    ramp = tf.cast(tf.reshape(tf.range(64.0), (1, 1, 64, 1)), tf.bfloat16)
    layer = RoIAlign((1, 1), (8, 512), dtype="mixed_bfloat16")
    # bfloat16 has 8 bits: 301.3 would become 302, a fifth of a cell off.
    cut = layer(ramp, np.array([[[297.3, 0, 305.3, 8]]], np.float32))
    assert cut.dtype == tf.bfloat16
    assert float(cut[0, 0, 0, 0, 0]) == pytest.approx(301.3 / 8 - 0.5, abs=0.15)


def test_is_loaded_from_a_keras_file_without_being_named(tmp_path: Path) -> None:
    maps, boxes = keras.Input((8, 8, 3)), keras.Input((5, 4))
    model = keras.Model([maps, boxes], RoIAlign((2, 3), (64, 64), 1, name="cut")(maps, boxes))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    assert loaded.get_layer("cut").get_config() == model.get_layer("cut").get_config()
    rng = np.random.default_rng(0)
    given_maps = rng.normal(size=(2, 8, 8, 3)).astype(np.float32)
    given_boxes = rng.uniform(0, 64, (2, 5, 4)).astype(np.float32)
    np.testing.assert_array_equal(model([given_maps, given_boxes]), loaded([given_maps, given_boxes]))
