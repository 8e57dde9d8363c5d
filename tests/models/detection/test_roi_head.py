"""The second stage: its answers for any number of regions, its loss by hand, and what fills up."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from cvserve.models.detection.roi_head import PaddingIsBackground, detector_postproc, roi_head, roi_head_loss
from cvserve.models.detection.sampling import Sample
from cvserve.postproc.decoders.detection import decode_detection_arrays


def test_one_head_for_any_number_of_regions() -> None:
    head = roi_head((2, 2, 3), num_classes=4, units=5)
    regions = np.random.default_rng(0).normal(size=(2, 7, 2, 2, 3)).astype(np.float32)
    answers = head(regions)
    assert answers["class_logits"].shape == (2, 7, 5)
    assert answers["box_offsets"].shape == (2, 7, 4, 4)
    fewer = head(regions[:, 2:5])
    for role, values in answers.items():
        np.testing.assert_allclose(fewer[role], values[:, 2:5], atol=1e-6)


def test_padding_is_never_found() -> None:
    proposals = np.array([[[0, 0, 10, 10], [0, 0, 0, 0], [5, 5, 5, 9]]], np.float32)
    logits = np.full((1, 3, 3), 7.0, np.float32)
    logits[..., 0] = -40
    certain = PaddingIsBackground()(logits, proposals).numpy()
    np.testing.assert_array_equal(certain[0, 0], logits[0, 0])
    outputs = {
        "proposals": proposals + np.float32(3) * (np.arange(4) >= 2),  # even if they had an area
        "class_logits": certain,
        "box_offsets": np.zeros((1, 3, 2, 4), np.float32),
    }
    ((boxes, scores, classes, _),) = decode_detection_arrays(outputs, detector_postproc(), 20, 20, score_threshold=0.0)
    np.testing.assert_allclose(boxes, [[0, 0, 13, 13]] * 2)
    assert sorted(classes.tolist()) == [0, 1]
    np.testing.assert_allclose(scores, 0.5)


def test_the_loss_by_hand() -> None:
    sample = Sample(
        proposals=tf.constant([[[0.0, 0, 10, 10], [20, 20, 40, 40], [0, 0, 5, 5]]]),
        labels=tf.constant([[1, -1, 0]]),
        boxes=tf.constant([[[1.0, 0, 11, 10], [0, 0, 0, 0], [9, 9, 99, 99]]]),
        objects=tf.constant([[0, 0, 1]]),
        used=tf.constant([[True, True, False]]),
    )
    logits = tf.constant([[[0.0, 0, 0], [2, 0, 0], [5, -5, 5]]])
    # The object lies a tenth of the proposal to the right: 0.1 / 0.1 = 1, of which class 1 says 0.5.
    offsets = np.full((1, 3, 2, 4), 8.0, np.float32)
    offsets[0, 0, 1] = [0.5, 0, 0, 0]
    parts = roi_head_loss(logits, tf.constant(offsets), sample)
    background = math.log(math.exp(2) + 2) - 2
    assert float(parts["head_class"]) == pytest.approx((math.log(3) + background) / 2, abs=1e-6)
    assert float(parts["head_box"]) == pytest.approx(0.5 * 0.5**2 / 2, abs=1e-6)
