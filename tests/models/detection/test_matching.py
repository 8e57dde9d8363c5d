"""Which anchor learns which object: by hand, and against loops."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from cvserve.models.detection.matching import BACKGROUND, IGNORED, match_anchors
from cvserve.postproc.boxes import iou_matrix

ANCHORS = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [100, 100, 110, 110]], np.float32)


def _labels(boxes: list[list[float]], labels: list[int], **options: object) -> list[int]:
    settings_: dict[str, object] = {"high": 0.5, "low": 0.4, "force_best": False, **options}
    found = match_anchors(
        ANCHORS,
        np.array([boxes], np.float32).reshape(1, -1, 4),
        np.array([labels], np.int32),
        **settings_,  # type: ignore[arg-type]
    )
    return [int(label) for label in found.labels.numpy()[0]]


def test_three_thresholds() -> None:
    # IoU with the anchors: 1, 1/3, 0, 0.
    assert _labels([[0, 0, 10, 10]], [7]) == [7, BACKGROUND, BACKGROUND, BACKGROUND]
    assert _labels([[0, 0, 10, 10]], [7], low=0.3) == [7, IGNORED, BACKGROUND, BACKGROUND]
    assert _labels([[0, 0, 10, 10]], [7], high=0.3, low=0.3) == [7, 7, BACKGROUND, BACKGROUND]


def test_the_best_anchor_of_an_object_is_forced_however_low() -> None:
    far = [[20, 20, 24, 24], [200, 200, 210, 210]]  # IoU 0.16 with the third; none with any
    assert _labels(far, [3, 4]) == [BACKGROUND] * 4
    assert _labels(far, [3, 4], force_best=True) == [BACKGROUND, BACKGROUND, 3, BACKGROUND]


def test_forcing_takes_the_anchor_from_the_object_that_it_overlaps_more() -> None:
    # The first object has anchors 0 (IoU 1) and 1; the second fits anchor 0 best, but weakly: it loses to none there.
    boxes = [[0, 0, 10, 10], [0, 0, 4, 4]]
    assert _labels(boxes, [1, 2], force_best=True)[0] == 1


def test_padding_and_no_objects() -> None:
    assert _labels([], [], force_best=True) == [BACKGROUND] * 4
    assert _labels([[0, 0, 10, 10]], [-1], force_best=True) == [BACKGROUND] * 4


def test_each_image_may_have_its_own_anchors() -> None:
    anchors = np.stack([ANCHORS, ANCHORS[::-1]])
    boxes = np.array([[[0, 0, 10, 10]], [[0, 0, 10, 10]]], np.float32)
    found = match_anchors(anchors, boxes, np.array([[5], [6]], np.int32), high=0.5, low=0.4, force_best=False)
    assert found.labels.numpy().tolist() == [[5, -1, -1, -1], [-1, -1, -1, 6]]
    np.testing.assert_array_equal(found.boxes.numpy()[1, 3], [0, 0, 10, 10])


# One graph for all examples: no retrace for any number of objects.
_TRACED = {
    force: tf.function(
        lambda anchors, boxes, labels, force=force: vars(
            match_anchors(anchors, boxes, labels, high=0.5, low=0.3, force_best=force)
        ),
        input_signature=[
            tf.TensorSpec((None, 4), tf.float32),
            tf.TensorSpec((None, None, 4), tf.float32),
            tf.TensorSpec((None, None), tf.int32),
        ],
    )
    for force in (False, True)
}


@pytest.mark.parametrize("force", [False, True])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_equals_loops(data: st.DataObject, force: bool) -> None:
    def draw(count: int) -> np.ndarray:
        numbers = data.draw(st.lists(st.integers(0, 40), min_size=4 * count, max_size=4 * count))
        corners = np.array(numbers, np.float32).reshape(count, 2, 2)
        corners[:, 1] = corners[:, 0] + corners[:, 1] / 2
        return corners.reshape(count, 4)

    anchors, objects = draw(data.draw(st.integers(1, 12))), data.draw(st.integers(0, 5))
    boxes = draw(objects)
    labels = np.array(data.draw(st.lists(st.integers(-1, 3), min_size=objects, max_size=objects)), np.int32)
    found = _TRACED[force](anchors, boxes[None], labels[None])
    expected, owners = _loops(anchors, boxes, labels, force)
    assert found["labels"].numpy()[0].tolist() == expected
    for index, owner in enumerate(owners):
        if expected[index] >= 0:
            assert found["objects"].numpy()[0, index] == owner
            np.testing.assert_array_equal(found["boxes"].numpy()[0, index], boxes[owner])
    assert _TRACED[force].experimental_get_tracing_count() == 1


def _loops(anchors: np.ndarray, boxes: np.ndarray, labels: np.ndarray, force: bool) -> tuple[list[int], list[int]]:
    overlap = iou_matrix(anchors, boxes).astype(np.float32)
    real = [index for index, label in enumerate(labels) if label >= 0]
    answers, owners = [], []
    for row in overlap:
        best = max(real, key=lambda index: (row[index], -index), default=None)
        most = row[best] if best is not None else -1.0
        owners.append(best or 0)
        answers.append(int(labels[best]) if best is not None and most >= 0.5 else BACKGROUND if most < 0.3 else IGNORED)
    if force:
        wish: dict[int, tuple[float, int]] = {}
        for index in real:
            anchor = int(overlap[:, index].argmax())
            share = float(overlap[anchor, index])
            if share > 0 and share > wish.get(anchor, (0.0, 0))[0]:
                wish[anchor] = (share, index)
        for anchor, (_, index) in wish.items():
            answers[anchor], owners[anchor] = int(labels[index]), index
    return answers, owners
