"""The graph's numbers to boxes, against the formulas of `BoxCoding` written as loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvserve.artifact import BoxCoding, BoxLevel
from cvserve.errors import ArtifactError
from cvserve.postproc.boxes import anchors, cells, decode_boxes

HEIGHT, WIDTH = 60, 80
GRIDS = ((3, 4), (1, 2))
ANCHORS = ((10.0, 20.0), (30.0, 15.0))
VARIANCES = (0.1, 0.2, 0.3, 0.4)


def coding(kind: str, each: int = 1) -> BoxCoding:
    with_anchors = ANCHORS if kind == "deltas" else ()
    levels = tuple(BoxLevel(rows=rows, columns=columns, anchors=with_anchors) for rows, columns in GRIDS)
    variances = VARIANCES if kind == "deltas" else (1.0, 1.0, 1.0, 1.0)
    return BoxCoding(kind=kind, levels=levels, boxes_per_cell=each, variances=variances)


def from_deltas(numbers: np.ndarray, box: list[float]) -> list[float]:
    width, height = box[2] - box[0], box[3] - box[1]
    x = (box[0] + box[2]) / 2 + numbers[0] * VARIANCES[0] * width
    y = (box[1] + box[3]) / 2 + numbers[1] * VARIANCES[1] * height
    width *= math.exp(numbers[2] * VARIANCES[2])
    height *= math.exp(numbers[3] * VARIANCES[3])
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def brute_force(kind: str, offsets: np.ndarray, each: int) -> list[list[float]]:
    boxes: list[list[float]] = []
    for rows, columns in GRIDS:
        cell_width, cell_height = WIDTH / columns, HEIGHT / rows
        for row in range(rows):
            for column in range(columns):
                for index in range(len(ANCHORS) if kind == "deltas" else each):
                    a, b, c, d = offsets[len(boxes)].tolist()
                    x, y = (column + 0.5) * cell_width, (row + 0.5) * cell_height
                    if kind == "distances":
                        box = [x - a * cell_width, y - b * cell_height, x + c * cell_width, y + d * cell_height]
                    elif kind == "grid":
                        x, y = (column + a) * cell_width, (row + b) * cell_height
                        width, height = c**2 * WIDTH, d**2 * HEIGHT
                        box = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
                    else:
                        width, height = ANCHORS[index]
                        anchor = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
                        box = from_deltas(offsets[len(boxes)], anchor)
                    boxes.append(box)
    return boxes


@pytest.mark.parametrize(
    ("kind", "each"), [("distances", 1), ("distances", 3), ("grid", 1), ("grid", 2), ("deltas", 1)]
)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_kind_follows_its_formula(kind: str, each: int, seed: int) -> None:
    spec = coding(kind, each)
    assert spec.boxes is not None
    offsets = np.random.default_rng(seed).normal(0, 1.5, (spec.boxes, 4)).astype(np.float32)
    boxes = decode_boxes(offsets, spec, HEIGHT, WIDTH)
    assert boxes.dtype == np.float32
    np.testing.assert_allclose(boxes, brute_force(kind, offsets, each), rtol=1e-4, atol=1e-3)
    batch = decode_boxes(np.stack([offsets, 2 * offsets]), spec, HEIGHT, WIDTH)
    assert np.array_equal(batch[0], boxes)
    chosen = np.random.default_rng(seed).permutation(spec.boxes)[:5]
    assert np.array_equal(decode_boxes(offsets[chosen], spec, HEIGHT, WIDTH, chosen=chosen), boxes[chosen])


def test_worked_examples() -> None:
    ones = np.ones((14, 4), np.float32)
    # The second cell of the first row: 20 x 20 pixels around (30, 10).
    assert decode_boxes(ones, coding("distances"), HEIGHT, WIDTH)[1].tolist() == [10, -10, 50, 30]
    assert decode_boxes(ones / 2, coding("grid"), HEIGHT, WIDTH)[1].tolist() == [20, 2.5, 40, 17.5]
    deltas = decode_boxes(np.zeros((28, 4), np.float32), coding("deltas"), HEIGHT, WIDTH)
    assert deltas[2:4].tolist() == [[25, 0, 35, 20], [15, 2.5, 45, 17.5]]
    assert deltas.tolist() == anchors(coding("deltas"), HEIGHT, WIDTH).tolist()


def test_boxes_of_proposals() -> None:
    spec = BoxCoding(kind="deltas", variances=VARIANCES)
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 40, (6, 2))
    proposals = np.concatenate([corners, corners + rng.uniform(1, 30, (6, 2))], axis=1).astype(np.float32)
    offsets = rng.normal(0, 1, (6, 4)).astype(np.float32)
    expected = [from_deltas(*pair) for pair in zip(offsets, proposals.tolist(), strict=True)]
    np.testing.assert_allclose(decode_boxes(offsets, spec, HEIGHT, WIDTH, proposals), expected, rtol=1e-4, atol=1e-3)
    padding = decode_boxes(offsets, spec, HEIGHT, WIDTH, np.zeros((6, 4), np.float32))
    assert not padding.any()
    with pytest.raises(ArtifactError, match="role proposals"):
        decode_boxes(offsets, spec, HEIGHT, WIDTH)


def test_a_wild_scale_stays_finite() -> None:
    boxes = decode_boxes(np.full((28, 4), 1e4, np.float32), coding("deltas"), HEIGHT, WIDTH)
    assert np.isfinite(boxes).all()


def test_another_number_of_boxes_is_an_error() -> None:
    with pytest.raises(ArtifactError, match="the graph gave 13 boxes, its box coding has 14"):
        decode_boxes(np.zeros((13, 4), np.float32), coding("distances"), HEIGHT, WIDTH)


def test_references_are_kept_and_cannot_be_changed() -> None:
    first, second = cells(coding("grid", 2), HEIGHT, WIDTH), cells(coding("grid", 2), HEIGHT, WIDTH)
    assert first[0] is second[0]
    assert first[0][:4].tolist() == [[0, 0], [0, 0], [20, 0], [20, 0]]
    assert first[1][-1].tolist() == [40, 60]
    for values in (*first, anchors(coding("deltas"), HEIGHT, WIDTH)):
        assert values.dtype == np.float32
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 1
