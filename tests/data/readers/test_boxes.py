"""Boxes as annotators leave them: kept, clipped or dropped, and never without a word."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest

from cvserve.data.problems import Problem
from cvserve.data.readers.boxes import BoxReport, check_boxes, log_boxes

SIZE = (100, 50)


def check(box: tuple[float, ...], size: tuple[int, int] | None = SIZE) -> tuple[list[float] | None, BoxReport]:
    report = BoxReport()
    boxes, kept = check_boxes([box], size, "a.jpg", ["cat (line 3)"], report)
    assert len(boxes) == len(kept)
    return (boxes[0].tolist() if len(boxes) else None), report


@pytest.mark.parametrize("box", [(10, 5, 20, 15), (0, 0, 100, 50), (0.25, 0.5, 1.0, 0.75)])
def test_good_boxes_stay_as_they_are(box: tuple[float, ...]) -> None:
    assert check(box) == (list(box), BoxReport())


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((10, 10, 10, 20), "is empty (0 x 10 pixels)"),
        ((10, 20, 30, 15), "is empty (20 x -5 pixels)"),
        ((math.nan, 10, 20, 20), "is not finite"),
        ((0, 0, math.inf, 20), "is not finite"),
        ((100, 10, 120, 20), "lies outside of its image of 100 x 50 pixels"),
        ((-30, -30, -1, -1), "lies outside of its image of 100 x 50 pixels"),
        ((80, 10, 121, 20), "lies mostly outside of its image of 100 x 50 pixels"),
    ],
)
def test_broken_boxes_are_dropped_by_name(box: tuple[float, ...], reason: str) -> None:
    kept, report = check(box)
    assert kept is None
    (problem,) = report.dropped
    assert (problem.image, problem.reason) == ("a.jpg", reason)
    assert problem.what.startswith("cat (line 3) [")
    assert report.clipped == []


def test_boxes_beyond_the_border_are_clipped_and_counted() -> None:
    kept, report = check((-5, 10, 95, 30))
    assert kept == [0, 10, 95, 30]
    assert [item.reason for item in report.clipped] == ["reaches 5 pixels out of it"]
    assert report.dropped == []


def test_rounding_beyond_the_border_is_clipped_without_a_word() -> None:
    assert check((-0.5, 10, 101, 30)) == ([0, 10, 100, 30], BoxReport())


def test_an_image_of_unknown_size_has_no_right_border() -> None:
    assert check((500, 10, 5000, 30), size=None)[0] == [500, 10, 5000, 30]


def test_the_indices_of_usable_boxes() -> None:
    report = BoxReport()
    _, kept = check_boxes([(0, 0, 9, 9), (3, 3, 3, 3), (1, 1, 2, 2)], SIZE, "a.jpg", ["x", "y", "z"], report)
    assert kept.tolist() == [0, 2]
    assert check_boxes(np.zeros((0, 4)), SIZE, "a.jpg", [], report)[0].shape == (0, 4)


def test_one_line_reports_all(caplog: pytest.LogCaptureFixture) -> None:
    problems = [Problem(f"{number}.jpg", "cat", "is empty") for number in range(7)]
    with caplog.at_level(logging.WARNING):
        log_boxes("photos train", problems, problems[:1])
        log_boxes("photos val", [], [])
    (record,) = caplog.records
    assert record.getMessage() == (
        "photos train: 7 boxes are left out: 0.jpg: cat is empty; 1.jpg: cat is empty; 2.jpg: cat is empty; "
        "3.jpg: cat is empty; 4.jpg: cat is empty; and 2 more; 1 boxes are clipped to their images: "
        "0.jpg: cat is empty"
    )
