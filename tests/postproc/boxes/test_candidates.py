"""Scores that reach the threshold, against all scores computed in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvserve.artifact import BoxCoding, DetectionPostproc
from cvserve.errors import ArtifactError
from cvserve.postproc.boxes import choose_candidates


def spec(activation: str, most: int = 1000) -> DetectionPostproc:
    return DetectionPostproc(boxes=BoxCoding(kind="deltas"), activation=activation, max_candidates=most)


def all_scores(logits: np.ndarray, objectness: np.ndarray | None, activation: str) -> np.ndarray:
    """float64 [A, C]"""
    logits = logits.astype(np.float64)
    if activation == "softmax":
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores = (shares / shares.sum(axis=1, keepdims=True))[:, 1:]
    else:
        scores = 1 / (1 + np.exp(-logits))
    return scores if objectness is None else scores / (1 + np.exp(-objectness.astype(np.float64)))[:, None]


# The same examples each time: in one of many, a score lies at the threshold itself.
@settings(deadline=None, derandomize=True)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 40),
    st.integers(1, 6),
    st.sampled_from(["sigmoid", "softmax"]),
    st.booleans(),
    st.sampled_from([0.0, 1e-3, 0.05, 0.25, 0.5, 0.9, 0.999]),
    st.sampled_from([1, 7, 1000]),
)
def test_equals_all_scores(
    seed: int, boxes: int, classes: int, activation: str, with_objectness: bool, threshold: float, most: int
) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 4, (boxes, classes + (activation == "softmax"))).astype(np.float32)
    objectness = rng.normal(0, 4, boxes).astype(np.float32) if with_objectness else None
    expected = all_scores(logits, objectness, activation)
    found = choose_candidates(logits, objectness, spec(activation, most), threshold)
    order = sorted(
        ((box, label) for box, label in np.ndindex(expected.shape) if expected[box, label] >= max(threshold, 1e-6)),
        key=lambda pair: -expected[pair],
    )[:most]
    assert list(zip(found.boxes.tolist(), found.classes.tolist(), strict=True)) == sorted(order)
    assert found.scores.dtype == np.float32
    np.testing.assert_allclose(found.scores, [expected[pair] for pair in sorted(order)], rtol=1e-4)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_of_equal_scores_the_first_are_taken(activation: str) -> None:
    logits = np.zeros((50, 3), np.float32)
    logits[:, 1] = 1.0
    logits[30, 1] = 2.0
    found = choose_candidates(logits, None, spec(activation, 4), 0.05)
    label = 0 if activation == "softmax" else 1
    assert found.boxes.tolist() == [0, 1, 2, 30]
    assert found.classes.tolist() == [label] * 4


def test_thresholds_at_the_ends() -> None:
    logits = np.array([[-30.0, 30.0, 0.0]], np.float32)
    assert choose_candidates(logits, None, spec("sigmoid"), 1.0).classes.tolist() == [1]
    assert choose_candidates(logits, None, spec("sigmoid"), 0.0).classes.tolist() == [1, 2]
    sure = choose_candidates(np.array([[-40.0, 40.0]], np.float32), None, spec("softmax"), 1.0)
    assert sure.scores.tolist() == [1.0]


def test_a_score_of_just_the_threshold_is_enough() -> None:
    assert len(choose_candidates(np.zeros((1, 1), np.float32), None, spec("sigmoid"), 0.5).boxes) == 1
    assert len(choose_candidates(np.zeros((1, 2), np.float32), None, spec("softmax"), 0.5).boxes) == 1


@pytest.mark.parametrize("value", [-np.inf, -1e30, 1e30])
def test_infinite_logits(value: float) -> None:
    logits = np.full((3, 4), -2.0, np.float32)
    logits[1, 2] = value
    found = choose_candidates(logits, None, spec("sigmoid"), 0.5)
    assert found.boxes.tolist() == ([1] if value > 0 else [])
    found = choose_candidates(logits, None, spec("softmax"), 0.5)
    assert found.classes.tolist() == ([1] if value > 0 else [])


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_nan_is_an_error(activation: str) -> None:
    logits = np.full((3, 4), -9.0, np.float32)
    objectness = np.array([0.0, np.nan, 0.0], np.float32)
    with pytest.raises(ArtifactError, match="not numbers"):
        choose_candidates(logits, objectness, spec(activation), 0.5)
    logits[2, 0] = np.nan
    with pytest.raises(ArtifactError, match="not numbers"):
        choose_candidates(logits, None, spec(activation), 0.5)


def test_an_infinite_share_is_an_error() -> None:
    with pytest.raises(ArtifactError, match="infinite logits"):
        choose_candidates(np.array([[0.0, np.inf]], np.float32), None, spec("softmax"), 0.5)
