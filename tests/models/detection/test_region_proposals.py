"""The region proposal network: its targets, and the proposals that it makes of its answers."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from cvserve.artifact import BoxCoding, BoxLevel
from cvserve.models.detection.coding import encode_deltas
from cvserve.models.detection.region_proposals import Proposals, proposal_loss
from cvserve.postproc.boxes import anchors as anchors_of
from cvserve.postproc.boxes import decode_deltas, nms

SIZE = (64, 96)
LEVELS = (
    BoxLevel(rows=4, columns=6, anchors=((16, 16), (24, 12))),
    BoxLevel(rows=2, columns=3, anchors=((40, 40), (60, 30))),
)
ANCHORS = anchors_of(BoxCoding(kind="deltas", levels=LEVELS), *SIZE)


def _by_hand(logits: np.ndarray, offsets: np.ndarray, candidates: int, count: int) -> np.ndarray:
    order = np.argsort(-logits, kind="stable")[:candidates]
    boxes = decode_deltas(offsets[order], ANCHORS[order], (1.0, 1.0, 1.0, 1.0))
    boxes = np.clip(boxes, 0, [SIZE[1], SIZE[0]] * 2).astype(np.float32)
    solid = np.flatnonzero((boxes[:, 2:] - boxes[:, :2]).min(axis=1) >= 1)
    scores = logits[order][solid]
    kept = nms(boxes[solid], scores, np.zeros(len(solid), int), 0.7, count)
    answer = np.zeros((count, 4), np.float32)
    answer[: len(kept)] = boxes[solid][kept]
    return answer


def test_proposals_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5, len(ANCHORS))).astype(np.float32)
    offsets = rng.normal(0, 0.3, (5, len(ANCHORS), 4)).astype(np.float32)
    # Far out of the image: clipped to nothing.
    offsets[:, :10, 0] = 20
    for candidates, count in ((40, 10), (60, 60), (1000, 100)):
        answer = Proposals(LEVELS, SIZE, candidates, count)(logits, offsets).numpy()
        assert answer.shape == (5, count, 4)
        for row in range(5):
            wanted = _by_hand(logits[row], offsets[row], candidates, count)
            np.testing.assert_allclose(answer[row], wanted, atol=1e-4)


def test_proposals_outside_of_the_image_are_padding() -> None:
    offsets = np.zeros((1, len(ANCHORS), 4), np.float32)
    offsets[..., 1] = -50
    answer = Proposals(LEVELS, SIZE, 30, 8)(np.zeros((1, len(ANCHORS)), np.float32), offsets)
    np.testing.assert_array_equal(answer, np.zeros((1, 8, 4)))


def test_keeps_its_settings() -> None:
    layer = Proposals(LEVELS, SIZE, 30, 8, 0.6)
    copied = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert copied.get_config() == layer.get_config()
    assert copied.levels == LEVELS


def test_the_loss_of_a_perfect_answer_is_zero() -> None:
    boxes = np.array([[[10, 10, 40, 40], [60, 20, 90, 60]]], np.float32)
    labels = np.array([[0, 3]], np.int32)
    # Each anchor answers what it should: the object that it overlaps most, near enough or as the object's best.
    from cvserve.models.detection.matching import match_anchors

    matches = match_anchors(ANCHORS, boxes, labels, high=0.7, low=0.3, force_best=True)
    offsets = encode_deltas(matches.boxes, tf.constant(ANCHORS))
    logits = tf.where(matches.positive, 30.0, -30.0)
    seed = tf.constant([1, 2])
    parts = proposal_loss(logits, offsets, tf.constant(ANCHORS), boxes, labels, seed)
    assert {name: round(float(value), 5) for name, value in parts.items()} == {"rpn_class": 0.0, "rpn_box": 0.0}
    wrong = proposal_loss(-logits, offsets + 1.0, tf.constant(ANCHORS), boxes, labels, seed)
    assert all(float(value) > 0 for value in wrong.values())
    # Anchors that are neither near enough nor far enough do not count.
    undecided = ~matches.positive & ~matches.background
    assert np.asarray(undecided).any()
    same = proposal_loss(tf.where(undecided, 99.0, logits), offsets, tf.constant(ANCHORS), boxes, labels, seed)
    assert float(same["rpn_class"]) < 1e-5
