"""Overlaps and suppression, against loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvserve.postproc.boxes import iou_matrix, nms

# No ratio of two small areas comes near it, so that no rounding decides.
THRESHOLD = math.sqrt(2) / 3


def brute_iou(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def brute_nms(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, threshold: float, most: int) -> list[int]:
    kept: list[int] = []
    for index in sorted(range(len(scores)), key=lambda index: (-scores[index], index)):
        rivals = [other for other in kept if classes[other] == classes[index]]
        if all(brute_iou(boxes[index].tolist(), boxes[other].tolist()) <= threshold for other in rivals):
            kept.append(index)
    return kept[:most]


def make_boxes(rng: np.random.Generator, count: int, span: int = 20, low: int = 0) -> np.ndarray:
    corners = rng.integers(low, low + span, (count, 2))
    return np.concatenate([corners, corners + rng.integers(1, span, (count, 2))], axis=1).astype(np.float32)


@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.integers(0, 12))
def test_iou_equals_loops(seed: int, first: int, second: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = make_boxes(rng, first), make_boxes(rng, second)
    matrix = iou_matrix(a, b)
    assert matrix.shape == (first, second)
    assert matrix.dtype == np.float32
    for row in range(first):
        for column in range(second):
            assert matrix[row, column] == pytest.approx(brute_iou(a[row].tolist(), b[column].tolist()), abs=1e-6)


def test_iou_worked_examples() -> None:
    a = np.array([[0, 0, 10, 10], [0, 0, 0, 0], [5, 5, 4, 9]], np.float32)
    b = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [2, 2, 4, 4]], np.float32)
    np.testing.assert_allclose(iou_matrix(a, b), [[1, 1 / 3, 0, 0.04], [0] * 4, [0] * 4], atol=1e-7)


@settings(deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 60),
    st.integers(1, 4),
    st.integers(1, 40),
    st.sampled_from([-30, 0, 1000]),
    st.sampled_from([8, 20, 200]),
)
def test_nms_equals_loops(seed: int, count: int, classes: int, most: int, low: int, span: int) -> None:
    rng = np.random.default_rng(seed)
    boxes = make_boxes(rng, count, span, low)
    scores = (rng.integers(0, 12, count) / 12).astype(np.float32)  # so that ties are common, and zeros too
    labels = rng.integers(0, classes, count)
    kept = nms(boxes, scores, labels, THRESHOLD, most)
    assert kept.dtype == np.int64
    assert kept.tolist() == brute_nms(boxes, scores, labels, THRESHOLD, most)


def case(*rows: tuple[float, float, float, float, float, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return table[:, :4], table[:, 4], table[:, 5].astype(np.int64)


@pytest.mark.parametrize(
    ("rows", "kept"),
    [
        pytest.param([], [], id="none"),
        pytest.param([(0, 0, 9, 9, 0.1, 0)], [0], id="one"),
        pytest.param([(0, 0, 9, 9, 0.1, 0), (0, 0, 9, 9, 0.9, 0), (0, 0, 9, 8, 0.8, 0)], [1], id="all but one"),
        pytest.param([(0, 0, 9, 9, 0.5, 0), (0, 0, 9, 9, 0.5, 0)], [0], id="a tie goes to the first"),
        pytest.param([(0, 0, 9, 9, 0.5, 0), (0, 0, 9, 9, 0.6, 1)], [1, 0], id="classes do not meet"),
        # The first suppresses the second, which therefore does not suppress the third.
        pytest.param([(0, 0, 10, 10, 0.9, 0), (4, 0, 14, 10, 0.8, 0), (8, 0, 18, 10, 0.7, 0)], [0, 2], id="no chain"),
    ],
)
def test_nms_worked_examples(rows: list, kept: list[int]) -> None:
    assert nms(*case(*rows), 0.4, 10).tolist() == kept


def test_an_overlap_of_just_the_threshold_stays() -> None:
    half = case((0, 0, 10, 10, 0.9, 0), (0, 0, 10, 5, 0.8, 0))
    assert nms(*half, 0.5, 10).tolist() == [0, 1]
    assert nms(*half, 0.499, 10).tolist() == [0]
    same = case((0, 0, 10, 10, 0.9, 0), (0, 0, 10, 10, 0.8, 0))
    assert nms(*same, 1.0, 10).tolist() == [0, 1]


def test_the_best_of_many_are_found_without_the_rest() -> None:
    rng = np.random.default_rng(3)
    boxes, scores = make_boxes(rng, 600, 300), rng.uniform(0, 1, 600).astype(np.float32)
    classes = rng.integers(0, 5, 600)
    for most in (1, 5, 50, 599):
        assert nms(boxes, scores, classes, THRESHOLD, most).tolist() == brute_nms(
            boxes, scores, classes, THRESHOLD, most
        )
