"""Losses against numbers worked out by hand."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from cvserve.models.detection.grid_loss import grid_loss
from cvserve.models.detection.losses import hardest_negatives, mean_over, prior_bias, sigmoid_focal_loss, smooth_l1
from cvserve.models.detection.retinanet import retinanet_loss
from cvserve.models.detection.ssd import ssd_loss

ANCHORS = np.array([[0, 0, 10, 10], [0, 0, 10, 6], [50, 50, 60, 60], [70, 70, 80, 80], [80, 0, 90, 10]], np.float32)


def _logit(share: float) -> float:
    return math.log(share / (1 - share))


def test_focal_loss_by_hand() -> None:
    """The paper's formula: -alpha_t (1 - p_t) ** 2 log p_t."""
    logits = np.array([_logit(0.9), _logit(0.9), _logit(0.1)], np.float32)
    found = sigmoid_focal_loss(logits, np.array([1, 0, 1], np.float32)).numpy()
    expected = [
        -0.25 * 0.1**2 * math.log(0.9),
        -0.75 * 0.9**2 * math.log(0.1),
        -0.25 * 0.9**2 * math.log(0.1),
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_focal_loss_without_focus_is_half_the_cross_entropy() -> None:
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(0, 3, 50).astype(np.float32), rng.integers(0, 2, 50).astype(np.float32)
    entropy = keras.losses.binary_crossentropy(targets[:, None], logits[:, None], from_logits=True)
    np.testing.assert_allclose(2 * sigmoid_focal_loss(logits, targets, alpha=0.5, gamma=0.0), entropy, rtol=1e-4)


def test_focal_loss_survives_great_logits() -> None:
    assert np.isfinite(sigmoid_focal_loss(np.array([-500, 500], np.float32), np.array([1, 0], np.float32))).all()


def test_smooth_l1_by_hand() -> None:
    found = smooth_l1(np.array([0.5, -2, 0.05], np.float32), np.zeros(3, np.float32), 1.0).numpy()
    np.testing.assert_allclose(found, [0.125, 1.5, 0.00125], rtol=1e-5)
    np.testing.assert_allclose(smooth_l1(np.float32(0.5), np.float32(0.0), 0.1), 0.45, rtol=1e-5)


def test_the_hardest_negatives_of_each_image() -> None:
    losses = np.array([[5, 4, 3, 2, 1, 9], [1, 2, 3, 4, 5, 6]], np.float32)
    positive = np.array([[0, 1, 0, 0, 0, 0], [0] * 6], bool)
    negative = ~positive
    negative[0, 5] = False  # ignored, though it is the hardest
    found = hardest_negatives(losses, positive, negative, ratio=2.0, least=1).numpy()
    assert found.tolist() == [[True, False, True, False, False, False], [False] * 5 + [True]]
    none = hardest_negatives(losses, np.zeros_like(positive), negative, ratio=2.0).numpy()
    assert not none.any()
    # No more than there are.
    assert hardest_negatives(losses, positive, negative, ratio=50.0).numpy()[0].tolist() == negative[0].tolist()


def test_mean_over_leaves_out_what_is_infinite_elsewhere() -> None:
    found = mean_over(np.array([1, 2, math.inf], np.float32), np.array([True, True, False]), tf.constant(2.0))
    assert float(found) == 1.5
    assert float(mean_over(np.ones(3, np.float32), np.zeros(3, bool), tf.constant(0.0))) == 0.0


@pytest.mark.parametrize("probability", [0.01, 0.5])
def test_prior_bias_starts_at_its_probability(probability: float) -> None:
    np.testing.assert_allclose(tf.sigmoid(prior_bias(probability)((3,))), probability, rtol=1e-5)


def _one_object() -> tuple[np.ndarray, np.ndarray]:
    """At the first anchor; the second overlaps it by 0.6, so both learn it."""
    return np.array([[[0, 0, 10, 10], [0, 0, 0, 0]]], np.float32), np.array([[1, -1]], np.int32)


def test_retinanets_loss_by_hand() -> None:
    boxes, labels = _one_object()
    logits = np.full((1, 5, 2), _logit(0.1), np.float32)
    offsets = np.zeros((1, 5, 4), np.float32)
    found = retinanet_loss(logits, offsets, tf.constant(ANCHORS), boxes, labels)
    hit, miss = -0.25 * 0.9**2 * math.log(0.1), -0.75 * 0.1**2 * math.log(0.9)
    np.testing.assert_allclose(found["class"], (2 * hit + 8 * miss) / 2, rtol=1e-4)
    # Second anchor: two pixels of 6 too high, and log(10 / 6) in height; beta is 1/9.
    apart = [2 / 6, math.log(10 / 6)]
    np.testing.assert_allclose(found["box"], sum(value - 1 / 18 for value in apart) / 2, rtol=1e-4)


def test_retinanet_with_ciou_is_zero_where_boxes_fit() -> None:
    boxes, labels = _one_object()
    offsets = np.zeros((1, 5, 4), np.float32)
    offsets[0, 1] = [0, 2 / 6, 0, math.log(10 / 6)]
    logits = np.zeros((1, 5, 2), np.float32)
    found = retinanet_loss(logits, offsets, tf.constant(ANCHORS), boxes, labels, box_loss="ciou")
    assert abs(float(found["box"])) < 1e-4


def test_ssds_loss_by_hand() -> None:
    boxes, labels = _one_object()
    logits = np.zeros((1, 5, 3), np.float32)
    logits[0, 4, 0] = 20.0  # an easy negative: with 2 positives, all 3 negatives count, but this one with nothing
    found = ssd_loss(logits, np.zeros((1, 5, 4), np.float32), tf.constant(ANCHORS), boxes, labels)
    np.testing.assert_allclose(found["class"], 4 * math.log(3) / 2, rtol=1e-5)
    # Offsets are scaled: 2 / 6 / 0.1 and log(10 / 6) / 0.2, linear both.
    np.testing.assert_allclose(found["box"], (2 / 0.6 - 0.5 + math.log(10 / 6) / 0.2 - 0.5) / 2, rtol=1e-4)


def _grid(offsets: np.ndarray, objectness: np.ndarray, boxes: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    found = grid_loss(
        offsets,
        np.zeros((1, 8, 2), np.float32),
        objectness,
        boxes,
        labels,
        grid=2,
        boxes_per_cell=2,
        height=80,
        width=160,
    )
    return {name: float(value) for name, value in found.items()}


def test_yolov1s_loss_by_hand() -> None:
    """2 x 2 cells of 80 x 40 pixels, 2 boxes each. The object (80, 0, 120, 40) lies in the cell above right: its centre
    at (0.25, 0.5) of the cell, a quarter of the width, half of the height."""
    boxes, labels = np.array([[[80, 0, 120, 40]]], np.float32), np.array([[1]], np.int32)
    offsets = np.full((1, 8, 4), 0.1, np.float32)
    offsets[0, 3] = [0.25, 0.5, math.sqrt(0.25), math.sqrt(0.5)]  # the second box of the second cell is right
    found = _grid(offsets, np.zeros((1, 8), np.float32), boxes, labels)
    np.testing.assert_allclose(found["box"], 0, atol=1e-6)
    np.testing.assert_allclose(found["object"], (0.5 - 1) ** 2, rtol=1e-4)
    np.testing.assert_allclose(found["empty"], 0.5 * 7 * 0.5**2, rtol=1e-5)
    np.testing.assert_allclose(found["class"], 2 * 0.5**2, rtol=1e-5)

    offsets[0, 3, 0] += 0.2
    np.testing.assert_allclose(_grid(offsets, np.zeros((1, 8), np.float32), boxes, labels)["box"], 5 * 0.04, rtol=1e-4)


def test_yolov1_of_two_objects_in_a_cell_learns_the_larger() -> None:
    boxes = np.array([[[82, 2, 90, 8], [80, 0, 120, 40], [0, 0, 0, 0]]], np.float32)
    offsets = np.full((1, 8, 4), 0.1, np.float32)
    offsets[0, 2] = [0.25, 0.5, math.sqrt(0.25), math.sqrt(0.5)]
    found = _grid(offsets, np.zeros((1, 8), np.float32), boxes, np.array([[0, 1, -1]], np.int32))
    np.testing.assert_allclose(found["box"], 0, atol=1e-6)
