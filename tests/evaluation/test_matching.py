"""Which results are right: worked examples, plain loops, and the area under the curve by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvserve.data.objects import Objects
from cvserve.evaluation.matching import curves, match_image
from cvserve.postproc import DetectionResult
from cvserve.postproc.boxes import iou_matrix

NAMES = ("a", "b")


def answers(*rows: tuple[list[float], float, int]) -> DetectionResult:
    boxes, scores, indexes = (list(part) for part in zip(*rows, strict=True)) if rows else ([], [], [])
    return DetectionResult(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(indexes, np.int32),
        NAMES,
        100,
        100,
    )


BOX, FAR = [0, 0, 10, 10], [50, 50, 60, 60]


@pytest.mark.parametrize(
    ("found", "ground_truth", "object_of", "ignored"),
    [
        pytest.param([(BOX, 0.9, 0)], Objects.of([BOX], [0]), [0], [False], id="found"),
        pytest.param([(BOX, 0.9, 1)], Objects.of([BOX], [0]), [-1], [False], id="another class"),
        pytest.param([(FAR, 0.9, 0)], Objects.of([BOX], [0]), [-1], [False], id="elsewhere"),
        pytest.param([([0, 0, 10, 5], 0.9, 0)], Objects.of([BOX], [0]), [0], [False], id="half is enough"),
        pytest.param([([0, 0, 10, 4.9], 0.9, 0)], Objects.of([BOX], [0]), [-1], [False], id="less than half"),
        pytest.param(
            [(BOX, 0.9, 0), (BOX, 0.8, 0)], Objects.of([BOX], [0]), [0, -1], [False] * 2, id="the second is wrong"
        ),
        pytest.param(
            [(BOX, 0.8, 0), (BOX, 0.9, 0)], Objects.of([BOX], [0]), [-1, 0], [False] * 2, id="the better one counts"
        ),
        pytest.param(
            [(BOX, 0.9, 0), (BOX, 0.8, 0)], Objects.of([BOX], [0], [True]), [-1] * 2, [True] * 2, id="difficult"
        ),
        # It overlaps the first object more, which is found already, and does not get the second one instead.
        pytest.param(
            [(BOX, 0.9, 0), ([0, 0, 10, 9], 0.8, 0)],
            Objects.of([BOX, [0, 0, 10, 16]], [0, 0]),
            [0, -1],
            [False] * 2,
            id="the nearest object alone",
        ),
        pytest.param([], Objects.of([BOX], [0]), [], [], id="no answers"),
        pytest.param([(BOX, 0.9, 0)], Objects.of([], []), [-1], [False], id="no objects"),
    ],
)
def test_worked_examples(found: list, ground_truth: Objects, object_of: list[int], ignored: list[bool]) -> None:
    match = match_image(answers(*found), ground_truth)
    assert match.object_of.tolist() == object_of
    assert match.ignored.tolist() == ignored
    assert match.wrong.tolist() == [
        target < 0 and not left_out for target, left_out in zip(object_of, ignored, strict=True)
    ]
    scores = {target: row[1] for target, row in zip(object_of, found, strict=True)}
    np.testing.assert_allclose(
        match.found_with, [scores.get(index, 0) for index in range(len(ground_truth))], rtol=1e-6
    )


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 10), st.integers(0, 10))
def test_equals_loops(seed: int, count: int, objects: int) -> None:
    rng = np.random.default_rng(seed)

    def boxes(number: int) -> np.ndarray:
        corners = rng.integers(0, 6, (number, 2))
        return np.concatenate([corners, corners + rng.integers(3, 9, (number, 2))], axis=1)

    ground_truth = Objects.of(boxes(objects), rng.integers(0, 2, objects), rng.random(objects) < 0.3)
    rows = zip(boxes(count).tolist(), (rng.integers(1, 6, count) / 6).tolist(), rng.integers(0, 2, count), strict=True)
    result = answers(*rows)
    taken: set[int] = set()
    object_of, ignored = [-1] * count, [False] * count
    for answer in sorted(range(count), key=lambda index: (-result.scores[index], index)):
        best, nearest = -1.0, -1
        for target in range(objects):
            overlap = float(iou_matrix(result.boxes[answer], ground_truth.boxes[target])[0, 0])
            if ground_truth.labels[target] == result.indexes[answer] and overlap > best:
                best, nearest = overlap, target
        if best >= 0.5:
            if ground_truth.ignored[nearest]:
                ignored[answer] = True
            elif nearest not in taken:
                taken.add(nearest)
                object_of[answer] = nearest
    match = match_image(result, ground_truth)
    assert match.object_of.tolist() == object_of
    assert match.ignored.tolist() == ignored


def test_the_curve_and_its_area() -> None:
    # Of class a: 4 objects in two images; answers by score: right, wrong, right, wrong, right.
    first = answers((BOX, 0.9, 0), (FAR, 0.8, 0), ([20, 20, 30, 30], 0.7, 0))
    second = answers((FAR, 0.6, 0), (BOX, 0.5, 0))
    objects = [Objects.of([BOX, [20, 20, 30, 30]], [0, 0]), Objects.of([BOX, [80, 80, 90, 90]], [0, 0])]
    matches = [match_image(*pair) for pair in zip([first, second], objects, strict=True)]
    curve, empty = curves(matches, [first, second], objects, NAMES)
    np.testing.assert_allclose(curve.recall, [0.25, 0.25, 0.5, 0.5, 0.75])
    np.testing.assert_allclose(curve.precision, [1, 1 / 2, 2 / 3, 1 / 2, 3 / 5])
    np.testing.assert_allclose(curve.envelope, [1, 2 / 3, 2 / 3, 3 / 5, 3 / 5])
    assert curve.average_precision == pytest.approx(0.25 * (1 + 2 / 3 + 3 / 5))
    assert (curve.objects, empty.objects, empty.average_precision) == (4, 0, None)


def test_difficult_objects_count_neither_way() -> None:
    found = answers((FAR, 0.9, 0), (BOX, 0.8, 0))
    ground_truth = Objects.of([FAR, BOX], [0, 0], [True, False])
    [curve, _] = curves([match_image(found, ground_truth)], [found], [ground_truth], NAMES)
    assert (curve.objects, curve.average_precision) == (1, 1.0)
