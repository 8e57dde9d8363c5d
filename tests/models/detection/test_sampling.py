"""What a two-stage detector learns from in a step."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from cvserve.models.detection.matching import BACKGROUND, IGNORED, Matches
from cvserve.models.detection.sampling import Sample, sample_anchors, sample_proposals, seed_from

SEED = tf.constant([3, 4])


def _matches(labels: np.ndarray) -> Matches:
    labels = np.asarray(labels, np.int32)
    return Matches(tf.constant(labels), tf.zeros((*labels.shape, 4)), tf.zeros_like(labels))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000), anchors=st.integers(1, 60), count=st.integers(1, 40), share=st.sampled_from([0.25, 0.5])
)
def test_no_more_anchors_are_drawn_than_exist(seed: int, anchors: int, count: int, share: float) -> None:
    labels = np.random.default_rng(seed).choice([BACKGROUND, IGNORED, 0, 1], (2, anchors))
    positive, background = (chosen.numpy() for chosen in sample_anchors(_matches(labels), count, share, SEED))
    assert not (positive & (labels < 0)).any()
    assert not (background & (labels != BACKGROUND)).any()
    for row in range(2):
        wanted = min((labels[row] >= 0).sum(), round(count * share))
        assert positive[row].sum() == wanted
        assert background[row].sum() == min((labels[row] == BACKGROUND).sum(), count - wanted)


def test_draws_change_with_the_network_and_with_nothing_else() -> None:
    labels = np.zeros((1, 200), int)

    def chosen(weights: list[float]) -> list[bool]:
        seed = seed_from(tf.constant(weights))
        picked: list[bool] = sample_anchors(_matches(labels), 20, 0.5, seed)[0].numpy()[0].tolist()
        return picked

    assert chosen([0.1, 0.2]) == chosen([0.1, 0.2])
    assert chosen([0.1, 0.2]) != chosen([0.1, 0.2001])


def _sample(count: int = 8, share: float = 0.5, **options: bool) -> Sample:
    proposals = np.array(
        [
            [[0, 0, 10, 10], [0, 0, 10, 12], [50, 50, 60, 60], [0, 0, 0, 0], [20, 20, 40, 40], [70, 0, 80, 10]],
            [[0, 0, 10, 10], [30, 0, 40, 10], [50, 50, 60, 60], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
        ],
        np.float32,
    )
    # The second image has no objects; what its padding holds must not matter.
    boxes = np.array([[[0, 0, 10, 11], [35, 35, 45, 45]], [[0, 0, 10, 10], [30, 0, 40, 10]]], np.float32)
    labels = np.array([[2, 1], [-1, -1]], np.int32)
    return sample_proposals(
        tf.constant(proposals),
        tf.constant(boxes),
        tf.constant(labels),
        SEED,
        count=count,
        positive_share=share,
        **options,
    )


def test_objects_are_proposals_of_themselves() -> None:
    sample = _sample()
    used, labels = sample.used.numpy(), sample.labels.numpy()
    # Of the first image: two that overlap the first object, both objects' own boxes, three of background.
    assert sorted(labels[0][used[0]].tolist()) == [-1, -1, -1, 1, 2, 2, 2]
    own = sample.proposals.numpy()[0][labels[0] == 1]
    np.testing.assert_array_equal(own, [[35, 35, 45, 45]])
    np.testing.assert_array_equal(sample.boxes.numpy()[0][labels[0] == 2], [[0, 0, 10, 11]] * 3)
    assert set(sample.objects.numpy()[0][labels[0] == 2].tolist()) == {0}
    # Of the second: three proposals of background, neither zeros nor what the padding of the objects holds.
    assert labels[1][used[1]].tolist() == [-1, -1, -1]
    assert not sample.positive.numpy()[1].any()


def test_objects_own_boxes_take_no_region_away() -> None:
    """The best region of an object that no region overlaps by half learns it, though its own box fits better."""
    sample = _sample(force_best=True)
    learned = sample.proposals.numpy()[0][sample.labels.numpy()[0] == 1]
    assert sorted(learned.tolist()) == [[20, 20, 40, 40], [35, 35, 45, 45]]


def test_at_most_a_share_are_objects() -> None:
    sample = _sample(count=4, share=0.25)
    assert sample.positive.numpy().sum(axis=1).tolist() == [1, 0]
    assert sample.used.numpy().sum(axis=1).tolist() == [4, 3]


@pytest.mark.parametrize("objects", [0, 1, 5])
def test_any_number_of_objects_is_one_graph(objects: int) -> None:
    @tf.function(input_signature=[tf.TensorSpec((None, None, 4)), tf.TensorSpec((None, None), tf.int32)])
    def used(boxes: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        proposals = tf.tile(tf.constant([[[0.0, 0, 10, 10]]]), [tf.shape(boxes)[0], 6, 1])
        return sample_proposals(proposals, boxes, labels, SEED, count=4, positive_share=0.25).used

    assert used(tf.ones((2, objects, 4)), tf.fill((2, objects), -1)).numpy().all()
    assert used.experimental_get_tracing_count() == 1
