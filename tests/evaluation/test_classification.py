"""Scores against worked examples and a brute-force count."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvserve.errors import InvalidInput
from cvserve.evaluation import classification_report

NAMES = ["a", "b", "c"]


def test_worked_example() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.5, 0.4, 0.1], [0.2, 0.2, 0.6]])
    report = classification_report(probabilities, np.array([0, 1, 1, 0]), NAMES)
    assert report.top1 == 0.5
    assert report.top5 == 1.0
    assert report.confusion.tolist() == [[1, 0, 1], [1, 1, 0], [0, 0, 0]]
    assert [(item.precision, item.recall, item.images) for item in report.classes] == [
        (0.5, 0.5, 2),
        (1.0, 0.5, 2),
        (0.0, 0.0, 0),
    ]
    assert report.loss == pytest.approx(-np.mean(np.log([0.7, 0.6, 0.4, 0.2])))


def test_ties_count_in_index_order() -> None:
    probabilities = np.full((3, 3), 1 / 3)
    assert classification_report(probabilities, np.array([0, 1, 2]), NAMES).top1 == pytest.approx(1 / 3)


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 30))
def test_equals_a_brute_force_count(seed: int, classes: int, images: int) -> None:
    rng = np.random.default_rng(seed)
    # Few levels, so that ties are common.
    probabilities = rng.integers(0, 5, (images, classes)) / 5
    labels = rng.integers(0, classes, images)
    report = classification_report(probabilities, labels, [str(index) for index in range(classes)])
    order = [sorted(range(classes), key=lambda index: (-row[index], index)) for row in probabilities]
    assert report.top1 == pytest.approx(np.mean([label == row[0] for row, label in zip(order, labels, strict=True)]))
    assert report.top5 == pytest.approx(np.mean([label in row[:5] for row, label in zip(order, labels, strict=True)]))
    assert report.confusion.sum() == images
    for index, item in enumerate(report.classes):
        predicted = [row[0] == index for row in order]
        hits = sum(p and label == index for p, label in zip(predicted, labels, strict=True))
        assert item.precision == pytest.approx(hits / sum(predicted) if sum(predicted) else 0)
        assert item.images == (labels == index).sum()


@pytest.mark.parametrize(
    ("probabilities", "labels"),
    [(np.zeros((2, 2)), [0, 1]), (np.zeros((2, 3)), [0]), (np.zeros((1, 3)), [3]), (np.zeros((0, 3)), [])],
)
def test_inputs_that_do_not_fit_are_refused(probabilities: np.ndarray, labels: list[int]) -> None:
    with pytest.raises(InvalidInput):
        classification_report(probabilities, np.array(labels, int), NAMES)
