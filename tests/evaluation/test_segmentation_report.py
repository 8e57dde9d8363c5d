"""Scores of label maps: worked examples, and counting pixel by pixel as an oracle."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cvserve.errors import InvalidInput
from cvserve.evaluation import confusion_matrix, segmentation_report

NAMES = ("sky", "road", "car", "boat")


def test_a_worked_example() -> None:
    ground_truth = np.array([[0, 0, 0, 0], [1, 1, 1, 255], [2, 2, 255, 255]], np.uint8)
    answer = np.array([[0, 0, 0, 1], [1, 1, 2, 0], [2, 2, 3, 1]], np.uint8)
    confusion = confusion_matrix(ground_truth, answer, 4)
    # Void pixels do not count, so that boat is in neither the ground truth nor the predictions.
    assert confusion.tolist() == [[3, 1, 0, 0], [0, 2, 1, 0], [0, 0, 2, 0], [0, 0, 0, 0]]
    report = segmentation_report(confusion, NAMES, images=1)
    assert [row.iou for row in report.classes] == [3 / 4, 2 / 4, 2 / 3, None]
    assert [row.accuracy for row in report.classes] == [3 / 4, 2 / 3, 1.0, None]
    assert [row.pixels for row in report.classes] == [4, 3, 2, 0]
    assert report.miou == pytest.approx((3 / 4 + 2 / 4 + 2 / 3) / 3)
    assert report.pixel_accuracy == pytest.approx(7 / 9)
    assert report.mean_accuracy == pytest.approx((3 / 4 + 2 / 3 + 1) / 3)
    assert report.frequency_weighted_iou == pytest.approx((4 * 3 / 4 + 3 * 2 / 4 + 2 * 2 / 3) / 9)
    assert report.images == 1


def test_a_class_that_is_only_predicted_counts_with_zero() -> None:
    report = segmentation_report(confusion_matrix(np.array([0, 0]), np.array([0, 3]), NAMES), NAMES)
    assert [row.iou for row in report.classes] == [0.5, None, None, 0.0]
    assert report.miou == 0.25
    # It has no pixels of its own that could be right.
    assert [row.accuracy for row in report.classes] == [0.5, None, None, None]
    assert report.mean_accuracy == 0.5


def masks(classes: int) -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
    shape = st.tuples(st.integers(1, 8), st.integers(1, 8))
    values = st.integers(0, classes - 1)
    return shape.flatmap(
        lambda size: st.tuples(
            arrays.arrays(np.uint8, size, elements=values | st.just(255)),
            arrays.arrays(np.uint8, size, elements=values),
        )
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(masks(4), min_size=1, max_size=4))
def test_it_equals_counting(images: list[tuple[np.ndarray, np.ndarray]]) -> None:
    pixels = [
        (int(label), int(answered))
        for ground_truth, answer in images
        for label, answered in zip(ground_truth.flat, answer.flat, strict=True)
        if label != 255
    ]
    total = sum(confusion_matrix(ground_truth, answer, 4) for ground_truth, answer in images)
    if not pixels:
        with pytest.raises(InvalidInput, match="there are no labelled pixels to score"):
            segmentation_report(total, NAMES)
        return
    report = segmentation_report(total, NAMES)
    ious, accuracies, weighted = [], [], 0.0
    for label in range(4):
        both = sum(pixel == (label, label) for pixel in pixels)
        either = sum(label in pixel for pixel in pixels)
        own = sum(pixel[0] == label for pixel in pixels)
        row = report.classes[label]
        assert row.pixels == own
        assert row.share == pytest.approx(own / len(pixels))
        assert row.iou == (pytest.approx(both / either) if either else None)
        assert row.accuracy == (pytest.approx(both / own) if own else None)
        ious += [both / either] if either else []
        accuracies += [both / own] if own else []
        weighted += own / len(pixels) * both / either if either else 0
    assert report.miou == pytest.approx(sum(ious) / len(ious))
    assert report.mean_accuracy == pytest.approx(sum(accuracies) / len(accuracies))
    assert report.pixel_accuracy == pytest.approx(sum(a == b for a, b in pixels) / len(pixels))
    assert report.frequency_weighted_iou == pytest.approx(weighted)
    assert report.confusion.sum() == len(pixels)


def test_255_classes() -> None:
    """The most there can be: indices of the matrix stay apart."""
    rng = np.random.default_rng(0)
    ground_truth, answer = rng.integers(0, 256, 5000), rng.integers(0, 255, 5000)
    expected = np.zeros((255, 255), np.int64)
    np.add.at(expected, (ground_truth[ground_truth < 255], answer[ground_truth < 255]), 1)
    found = confusion_matrix(ground_truth.astype(np.uint8), answer.astype(np.int64), 255)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.int64


@pytest.mark.parametrize(
    ("ground_truth", "answer", "fault"),
    [
        ([4], [0], "there is a label 4, but there are 4 classes"),
        ([-1], [0], "there is a label -1"),
        ([0], [4], "there is a prediction 4"),
        ([0], [255], "there is a prediction 255"),
        ([0, 1], [0], r"predictions \[1\] do not fit labels \[2\]"),
    ],
)
def test_faults(ground_truth: list[int], answer: list[int], fault: str) -> None:
    with pytest.raises(InvalidInput, match=fault):
        confusion_matrix(np.array(ground_truth), np.array(answer), 4)


def test_predictions_on_void_may_be_anything() -> None:
    assert not confusion_matrix(np.array([255]), np.array([77]), 4).any()


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(InvalidInput, match=r"a matrix \[3, 3\] does not fit 4 classes"):
        segmentation_report(np.zeros((3, 3)), NAMES)
    with pytest.raises(InvalidInput, match="there can be from 1 to 255 classes, not 256"):
        confusion_matrix(np.zeros(1, int), np.zeros(1, int), 256)


def test_the_table_the_headline_and_the_json() -> None:
    report = segmentation_report(np.array([[3, 1], [0, 0]]), ("sky", "road"), 2)
    assert report.headline() == (
        "mIoU 0.3750, pixel accuracy 0.7500, mean class accuracy 0.7500, frequency-weighted IoU 0.7500"
    )
    rows, columns = report.table()
    assert columns == ("class", "pixels", "share", "IoU", "accuracy")
    assert rows == [("sky", 4, 1.0, 0.75, 0.75), ("road", 0, 0.0, 0.0, None)]
    values = json.loads(json.dumps(report.to_dict()))
    assert (values["miou"], values["images"], values["confusion"]) == (0.375, 2, [[3, 1], [0, 0]])
    assert values["classes"][1] == {"label": "road", "pixels": 0, "share": 0.0, "iou": 0.0, "accuracy": None}
