"""Losses of segmentation by hand and against plain formulas; void pixels have no influence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from cvserve.data.masks import VOID
from cvserve.models.segmentation.losses import combined, dice, focal, lovasz_softmax, pixel_cross_entropy

LOSSES: dict[str, Callable[..., Any]] = {
    "cross_entropy": pixel_cross_entropy,
    "weighted cross_entropy": lambda logits, labels: pixel_cross_entropy(logits, labels, [0.5, 2.0, 1.0], 0.1),
    "focal": focal,
    "dice": dice,
    "lovasz": lovasz_softmax,
}


def logits_of(probabilities: list[list[float]]) -> tf.Tensor:
    """[pixels][C] to float32 [1, 1, pixels, C]."""
    return tf.math.log(tf.constant([[probabilities]], tf.float32))


def labels_of(*labels: int) -> tf.Tensor:
    return tf.constant([[labels]], tf.uint8)


PIXELS = [[0.8, 0.2], [0.5, 0.5], [0.25, 0.75]]


def test_cross_entropy_by_hand() -> None:
    logits = logits_of(PIXELS)
    plain = -(np.log(0.8) + np.log(0.5) + np.log(0.75)) / 3
    assert float(pixel_cross_entropy(logits, labels_of(0, 1, 1))) == pytest.approx(plain, abs=1e-6)
    weighted = -(np.log(0.8) + 3 * np.log(0.5) + 3 * np.log(0.75)) / 7
    assert float(pixel_cross_entropy(logits, labels_of(0, 1, 1), [1, 3])) == pytest.approx(weighted, abs=1e-6)
    # A tenth of the target is uniform: 0.95 and 0.05.
    smooth = -0.95 * np.log(0.8) - 0.05 * np.log(0.2)
    assert float(pixel_cross_entropy(logits, labels_of(0, VOID, VOID), None, 0.1)) == pytest.approx(smooth, abs=1e-6)


def test_a_worked_example_and_equal_scores() -> None:
    """Scores (3.2, 5.1, -1.7), true class 0: loss 2.04. All alike: log(C)."""
    scores = tf.constant([[[[3.2, 5.1, -1.7]]]])
    assert float(pixel_cross_entropy(scores, labels_of(0))) == pytest.approx(2.04, abs=0.005)
    assert float(pixel_cross_entropy(tf.zeros((2, 3, 4, 11)), tf.zeros((2, 3, 4), tf.uint8))) == pytest.approx(
        np.log(11), abs=1e-6
    )


def test_focal_by_hand() -> None:
    expected = -(0.2**2 * np.log(0.8) + 0.5**2 * np.log(0.5) + 0.25**2 * np.log(0.75)) / 3
    assert float(focal(logits_of(PIXELS), labels_of(0, 1, 1))) == pytest.approx(expected, abs=1e-6)
    assert float(focal(logits_of(PIXELS), labels_of(0, 1, 1), gamma=0.0)) == pytest.approx(
        float(pixel_cross_entropy(logits_of(PIXELS), labels_of(0, 1, 1))), abs=1e-6
    )


def test_dice_by_hand() -> None:
    first = 1 - 2 * 0.8 / (0.8 + 0.5 + 0.25 + 1)
    second = 1 - 2 * (0.5 + 0.75) / (0.2 + 0.5 + 0.75 + 2)
    assert float(dice(logits_of(PIXELS), labels_of(0, 1, 1))) == pytest.approx((first + second) / 2, abs=1e-6)
    # A class that the batch lacks is not asked for.
    assert float(dice(logits_of(PIXELS[:1]), labels_of(0))) == pytest.approx(1 - 2 * 0.8 / 1.8, abs=1e-6)


def test_lovasz_of_certain_answers_is_one_minus_iou() -> None:
    """Where probabilities are 0 and 1, the surrogate equals 1 - IoU: IoU 1 / 2 and 2 / 3."""
    certain = tf.constant([[[[99.0, 0], [99, 0], [0, 99], [0, 99]]]])
    assert float(lovasz_softmax(certain, labels_of(0, 1, 1, 1))) == pytest.approx((1 / 2 + 1 / 3) / 2, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), void=st.floats(0, 0.9))
def test_against_numpy(seed: int, void: float) -> None:
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (2, 3, 4, 3)).astype(np.float32)
    labels = np.where(random.random((2, 3, 4)) < void, VOID, random.integers(0, 3, (2, 3, 4))).astype(np.uint8)
    counted = labels != VOID
    scores, ground_truth = logits[counted].astype(np.float64), labels[counted].astype(int)
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    own = shares[np.arange(len(ground_truth)), ground_truth]
    classes = [c for c in range(3) if (ground_truth == c).any()]
    weights = np.array([0.5, 2.0, 1.0])[ground_truth]
    smooth = -0.9 * np.log(own) - 0.1 * np.log(shares).mean(axis=1)
    expected = {
        "cross_entropy": -np.log(own).mean() if len(own) else 0.0,
        "weighted cross_entropy": (weights * smooth).sum() / weights.sum() if len(own) else 0.0,
        "focal": ((1 - own) ** 2 * -np.log(own)).mean() if len(own) else 0.0,
        "dice": np.mean(
            [
                1 - 2 * shares[ground_truth == c, c].sum() / (shares[:, c].sum() + (ground_truth == c).sum())
                for c in classes
            ]
            or [0.0]
        ),
        "lovasz": np.mean(
            [_lovasz(np.abs((ground_truth == c) - shares[:, c]), ground_truth == c) for c in classes] or [0.0]
        ),
    }
    for name, loss in LOSSES.items():
        assert float(loss(logits, labels)) == pytest.approx(expected[name], rel=1e-4, abs=1e-5), name


def _lovasz(errors: np.ndarray, is_class: np.ndarray) -> float:
    """The definition: sets of the greatest errors, one larger than the other, and what each adds to 1 - IoU."""
    order, loss, before = np.argsort(-errors), 0.0, 0.0
    for count in range(1, len(errors) + 1):
        wrong = np.zeros(len(errors), bool)
        wrong[order[:count]] = True
        answered = is_class ^ wrong
        after = 1 - (answered & is_class).sum() / max(1, (answered | is_class).sum())
        loss += errors[order[count - 1]] * (after - before)
        before = after
    return loss


@pytest.mark.parametrize("name", LOSSES)
def test_void_has_no_influence(name: str) -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (2, 6, 5, 3)).astype(np.float32)
    labels = random.integers(0, 3, (2, 6, 5)).astype(np.uint8)
    labels[:, :3, 1:] = VOID
    other = np.where((labels == VOID)[..., None], 50 * random.normal(size=logits.shape), logits).astype(np.float32)
    values, gradients = [], []
    for scores in (logits, other):
        scores = tf.constant(scores)
        with tf.GradientTape() as tape:
            tape.watch(scores)
            loss = LOSSES[name](scores, labels)
        values.append(float(loss))
        gradients.append(tape.gradient(loss, scores).numpy())
    assert values[0] == pytest.approx(values[1], rel=1e-5)
    for gradient in gradients:
        assert not gradient[labels == VOID].any()
    np.testing.assert_allclose(gradients[0][labels != VOID], gradients[1][labels != VOID], atol=1e-6)
    assert np.abs(gradients[0][labels != VOID]).max() > 0


@pytest.mark.parametrize("name", LOSSES)
def test_nothing_but_void_is_zero(name: str) -> None:
    scores = tf.Variable(tf.random.normal((1, 4, 4, 3)))
    with tf.GradientTape() as tape:
        loss = LOSSES[name](scores, tf.fill((1, 4, 4), tf.constant(VOID, tf.uint8)))
    assert float(loss) == 0.0
    assert not np.any(tape.gradient(loss, scores))


@pytest.mark.parametrize("name", LOSSES)
def test_very_large_scores_stay_finite(name: str) -> None:
    """Right and wrong with a score of 1000 apart: finite losses and gradients."""
    scores = tf.Variable([[[[1000.0, 0, 0], [0, 1000, 0]]]])
    for labels in (labels_of(0, 1), labels_of(1, 0)):
        with tf.GradientTape() as tape:
            loss = LOSSES[name](scores, labels)
        assert np.isfinite(loss)
        assert np.isfinite(tape.gradient(loss, scores)).all()


def test_a_sum_is_chosen_by_name() -> None:
    logits, labels = logits_of(PIXELS), labels_of(0, 1, VOID)
    parts = combined(
        logits, labels, {"cross_entropy": 1.0, "dice": 0.5, "focal": 2.0}, class_weights=[1, 3], focal_gamma=1.0
    )
    expected = (
        pixel_cross_entropy(logits, labels, [1, 3])
        + 0.5 * dice(logits, labels)
        + 2 * focal(logits, labels, 1.0, [1, 3])
    )
    assert float(tf.add_n(list(parts.values()))) == pytest.approx(float(expected), rel=1e-6)
