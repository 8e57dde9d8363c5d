"""RoI pooling against the author's loops, and against an example by hand."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from cvserve.models.layers.roi_pool import RoIPool


def brute_force(features: np.ndarray, box: np.ndarray, size: tuple[int, int], scale: float) -> np.ndarray:
    """roi_pooling_layer.cpp of the author: features [h, w, C], box in pixels, to [rows, columns, C]."""
    (rows, columns), (height, width, channels) = size, features.shape
    x1, y1, x2, y2 = np.floor(box * scale + 0.5).astype(int)
    high, wide = max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1)
    answer = np.zeros((rows, columns, channels), np.float32)
    for row in range(rows):
        for column in range(columns):
            top, bottom = y1 + row * high // rows, y1 - (-(row + 1) * high // rows)
            left, right = x1 + column * wide // columns, x1 - (-(column + 1) * wide // columns)
            top, bottom = np.clip([top, bottom], 0, height)
            left, right = np.clip([left, right], 0, width)
            if top < bottom and left < right:
                answer[row, column] = features[top:bottom, left:right].max(axis=(0, 1))
    return answer


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    cells=st.tuples(st.integers(1, 11), st.integers(1, 11)),
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
)
def test_equals_the_loops(seed: int, cells: tuple[int, int], size: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(2, *cells, 3)).astype(np.float32)
    boxes = rng.uniform(-20, 8 * max(cells) + 20, (2, 6, 4)).astype(np.float32)
    answer = RoIPool(size, (8 * cells[0], 8 * cells[1]))(features, boxes)
    for image in range(2):
        for region in range(6):
            wanted = brute_force(features[image], boxes[image, region], size, 1 / 8)
            np.testing.assert_array_equal(answer[image, region], wanted)


def test_the_example_of_the_lectures() -> None:
    # Cells of 10 pixels. Columns round to 1..3, rows to 0..2; each of the 2 x 2 bins takes two of the three: they
    # share the one in the middle.
    ramp = np.arange(25, dtype=np.float32).reshape(1, 5, 5, 1)
    cut = RoIPool((2, 2), (50, 50))(ramp, np.array([[[9.0, 0.0, 31.0, 24.0]]], np.float32))
    np.testing.assert_array_equal(cut[0, 0, :, :, 0], [[7, 8], [12, 13]])


def test_a_pyramid_is_cut_from_the_map_of_the_level_alone() -> None:
    maps = [np.full((1, 512 // stride, 512 // stride, 2), stride, np.float32) for stride in (8, 16, 32)]
    boxes = np.array([[[30, 30, 60, 50], [100, 100, 400, 300], [10, 10, 510, 510]]], np.float32)
    cut = RoIPool((3, 3), (512, 512))(maps, boxes).numpy()
    for region, value in enumerate((8, 16, 32)):
        np.testing.assert_array_equal(cut[0, region], np.full((3, 3, 2), value))


def test_the_greatest_cell_gets_the_gradient() -> None:
    features = tf.constant(np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1))
    with tf.GradientTape() as tape:
        tape.watch(features)
        total = tf.reduce_sum(RoIPool((1, 1), (32, 32))(features, np.array([[[0.0, 0, 23, 23]]], np.float32)))
    gradient = tape.gradient(total, features).numpy()[0, :, :, 0]
    # round(23 / 8) = 3: all of the map, whose last cell is the greatest.
    assert gradient[3, 3] == 1.0
    assert gradient.sum() == 1.0


def test_is_loaded_from_a_keras_file_without_being_named(tmp_path: Path) -> None:
    maps, boxes = keras.Input((8, 8, 3)), keras.Input((5, 4))
    model = keras.Model([maps, boxes], RoIPool((2, 3), (64, 64), name="cut")(maps, boxes))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    rng = np.random.default_rng(0)
    given_maps = rng.normal(size=(2, 8, 8, 3)).astype(np.float32)
    given_boxes = rng.uniform(0, 64, (2, 5, 4)).astype(np.float32)
    np.testing.assert_array_equal(model([given_maps, given_boxes]), loaded([given_maps, given_boxes]))
