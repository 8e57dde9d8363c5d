"""Suppression without control flow against the loop that it stands for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

tf = pytest.importorskip("tensorflow")

from cvserve.models.layers.nms import PADDING, top_k_nms  # noqa: E402
from cvserve.postproc.boxes import nms  # noqa: E402


def kept(boxes: Any, scores: Any, threshold: float, classes: Any = None, **options: Any) -> list[list[bool]]:
    arrays = [tf.constant(values, dtype) for values, dtype in ((boxes, tf.float32), (scores, tf.float32))]
    answer = top_k_nms(*arrays, threshold, None if classes is None else tf.constant(classes, tf.int32), **options)
    return [list(map(bool, row)) for row in answer.numpy()]


def greedy(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, threshold: float) -> list[bool]:
    """Box after box, as every text has it."""
    result: list[bool] = []
    for index, box in enumerate(boxes):
        stays = True
        for other in range(index):
            size = np.minimum(box[2:], boxes[other][2:]) - np.maximum(box[:2], boxes[other][:2])
            shared = np.float32(np.prod(np.maximum(size, 0)))
            union = np.prod(box[2:] - box[:2]) + np.prod(boxes[other][2:] - boxes[other][:2]) - shared
            if result[other] and classes[other] == classes[index] and shared > np.float32(threshold) * union:
                stays = False
        result.append(stays)
    return result


def test_a_worked_example() -> None:
    """The second is suppressed by the first, so that the third, which only the second overlaps enough, stays."""
    row = [[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10], [50, 50, 60, 60]]  # overlaps 6 / 14 and 2 / 18
    assert kept([row], [[0.9, 0.8, 0.7, 0.6]], 0.4) == [[True, False, True, True]]
    assert kept([row], [[0.9, 0.8, 0.7, 0.6]], 0.45) == [[True, True, True, True]]
    assert kept([row], [[0.9, 0.8, 0.7, 0.6]], 0.4, [[0, 1, 1, 0]]) == [[True, True, False, True]]


def test_logits_and_padding() -> None:
    row = [[0, 0, 10, 10], [0, 0, 10, 9], [30, 30, 40, 40], [0, 0, 0, 0], [70, 70, 80, 80]]
    assert kept([row], [[2.0, -1.0, -3.0, -4.0, 2 * PADDING]], 0.5) == [[True, False, True, False, False]]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    threshold=st.sampled_from([0.2, 0.5, 0.7]),
    side=st.sampled_from([12, 30, 80]),
    batch=st.integers(1, 3),
)
def test_equals_the_loop(seed: int, threshold: float, side: int, batch: int) -> None:
    random = np.random.default_rng(seed)
    # Whole numbers, so that both sides calculate exactly; among them many equal boxes.
    corners = random.integers(0, side, (batch, 24, 2))
    boxes = np.concatenate([corners, corners + random.integers(1, 20, (batch, 24, 2))], axis=-1).astype(np.float32)
    scores = -np.sort(-random.random((batch, 24), np.float32), axis=1)
    classes = random.integers(0, 3, (batch, 24))
    answer = kept(boxes, scores, threshold, classes)
    assert answer == [greedy(*image, threshold) for image in zip(boxes, scores, classes, strict=True)]


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_crowds_need_fewer_passes_than_there_are(threshold: float) -> None:
    """300 boxes in a small square, as dense as no scene is: the fixed number of passes is enough, and right."""
    random = np.random.default_rng(1)
    corners = random.uniform(0, 60, (2, 300, 2))
    boxes = np.concatenate([corners, corners + random.uniform(20, 80, (2, 300, 2))], axis=-1).astype(np.float32)
    scores = -np.sort(-random.random((2, 300), np.float32), axis=1)
    answer = kept(boxes, scores, threshold)
    assert answer == kept(boxes, scores, threshold, passes=299)
    for row, box, score in zip(answer, boxes, scores, strict=True):
        assert np.flatnonzero(row).tolist() == nms(box, score, np.zeros(300, int), threshold, 300).tolist()


def test_an_odd_number_of_passes_is_what_a_long_chain_would_need() -> None:
    """A chain of boxes that each overlap the next: after few passes some too many are left, never too few."""
    chain = [[5 * step, 0, 5 * step + 10, 10] for step in range(40)]  # each overlaps its neighbours by a third
    scores = [np.linspace(1, 0.1, 40)]
    [exact] = kept([chain], scores, 0.3, passes=39)
    assert exact == [step % 2 == 0 for step in range(40)]
    [short] = kept([chain], scores, 0.3, passes=16)
    assert short[:16] == exact[:16]
    assert all(now for now, right in zip(short, exact, strict=True) if right)


def test_the_number_of_boxes_must_be_known() -> None:
    @tf.function(input_signature=[tf.TensorSpec((None, None, 4)), tf.TensorSpec((None, None))])
    def run(boxes: Any, scores: Any) -> Any:
        return top_k_nms(boxes, scores, 0.5)

    with pytest.raises(ValueError, match="known number of boxes"):
        run.get_concrete_function()
