"""Offsets of boxes: against the formula by hand, and against postproc's numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cvserve.artifact import BoxCoding, BoxLevel
from cvserve.models.detection.anchors import OCTAVES, pyramid_anchors, ssd_anchors
from cvserve.models.detection.coding import decode_deltas, encode_deltas
from cvserve.postproc.boxes import anchors, decode_boxes

VARIANCES = [(1.0, 1.0, 1.0, 1.0), (0.1, 0.1, 0.2, 0.2)]


def test_a_worked_example() -> None:
    """Anchor of centre (50, 50), 20 x 40; box of centre (60, 40), 40 x 40."""
    reference, box = np.array([[40, 30, 60, 70]], np.float32), np.array([[40, 20, 80, 60]], np.float32)
    np.testing.assert_allclose(encode_deltas(box, reference), [[10 / 20, -10 / 40, math.log(2), 0]], atol=1e-6)
    scaled = encode_deltas(box, reference, (0.1, 0.1, 0.2, 0.2))
    np.testing.assert_allclose(scaled, [[5, -2.5, math.log(2) / 0.2, 0]], atol=1e-5)


@pytest.mark.parametrize("variances", VARIANCES)
def test_decoding_is_postprocs(variances: tuple[float, float, float, float]) -> None:
    level = BoxLevel(rows=3, columns=4, anchors=((16, 16), (32, 10)))
    coding = BoxCoding(kind="deltas", levels=(level,), variances=variances)
    reference = anchors(coding, 48, 80)
    rng = np.random.default_rng(0)
    # Sizes up to exp(6): both must clip alike.
    offsets = rng.normal(0, 2, (2, 24, 4)).astype(np.float32)
    offsets[0, 0, 2:] = 60
    np.testing.assert_allclose(
        decode_deltas(offsets, reference, variances), decode_boxes(offsets, coding, 48, 80), rtol=1e-5, atol=1e-3
    )


@pytest.mark.parametrize("variances", VARIANCES)
def test_there_and_back(variances: tuple[float, float, float, float]) -> None:
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 100, (2, 50, 2)).astype(np.float32)
    boxes, reference = (
        np.concatenate([start, start + rng.uniform(3, 90, (50, 2))], axis=1).astype(np.float32) for start in corners
    )
    back = decode_deltas(encode_deltas(boxes, reference, variances), reference, variances)
    np.testing.assert_allclose(back, boxes, atol=1e-3)


def test_padding_has_finite_offsets() -> None:
    offsets = encode_deltas(np.zeros((1, 4), np.float32), np.array([[0, 0, 8, 8]], np.float32))
    assert np.isfinite(offsets).all()


def test_pyramid_anchors_keep_their_area() -> None:
    sizes = pyramid_anchors(32)
    assert len(sizes) == 9
    for index, (width, height) in enumerate(sizes):
        assert math.isclose(width * height, (32 * OCTAVES[index // 3]) ** 2)
        assert math.isclose(height / width, (0.5, 1.0, 2.0)[index % 3])


def test_ssd_has_the_papers_8732_boxes() -> None:
    sizes = ssd_anchors(300, 6)
    assert [len(boxes) for boxes in sizes] == [4, 6, 6, 6, 4, 4]
    rows = (38, 19, 10, 5, 3, 1)
    assert sum(count * count * len(boxes) for count, boxes in zip(rows, sizes, strict=True)) == 8732
    # Scales 0.1, and 0.2 to 0.9.
    np.testing.assert_allclose([boxes[0][0] for boxes in sizes], [30, 60, 112.5, 165, 217.5, 270])
    np.testing.assert_allclose(sizes[0][1], math.sqrt(30 * 60))
    np.testing.assert_allclose(sizes[1][2], (60 * math.sqrt(2), 60 / math.sqrt(2)))
