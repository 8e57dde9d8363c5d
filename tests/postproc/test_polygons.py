"""Masks as polygons: exact along pixel edges, with holes, and as pycocotools sees them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from relative_time import copies_of
from tiny_segmenter import blobs

from cvserve.postproc.polygons import class_polygons, from_polygons, to_polygons

masks = st.tuples(st.integers(1, 14), st.integers(1, 14)).flatmap(lambda shape: arrays(np.bool_, shape))


def area(polygon: np.ndarray) -> float:
    """Signed, clockwise on the screen being positive (the shoelace formula with y down)."""
    x, y = polygon.T.astype(float)
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def test_by_hand() -> None:
    assert to_polygons(np.zeros((3, 3), bool)) == []
    [square] = to_polygons(np.ones((2, 3), np.uint8))
    assert square.tolist() == [[0, 0], [3, 0], [3, 2], [0, 2]]
    ring = np.ones((3, 3), bool)
    ring[1, 1] = False
    outer, hole = to_polygons(ring)
    assert (area(outer), area(hole)) == (9, -1)
    # Two pixels that meet in a corner: one outline each, whichever way they lie.
    for mask in (np.eye(2, dtype=bool), np.eye(2, dtype=bool)[::-1]):
        assert [area(polygon) for polygon in to_polygons(mask)] == [1, 1]


@settings(deadline=None, max_examples=300)
@given(masks)
@example(np.indices((9, 9)).sum(axis=0) % 2 == 0)
def test_the_mask_comes_back(mask: np.ndarray) -> None:
    polygons = to_polygons(mask)
    assert np.array_equal(from_polygons(polygons, *mask.shape), mask)
    # The areas of outlines and holes are the pixels, which is the rule of non-zero winding too.
    assert sum(map(area, polygons)) == mask.sum()
    for polygon in polygons:
        steps = np.roll(polygon, -1, axis=0) - polygon
        assert (np.count_nonzero(steps, axis=1) == 1).all()
        horizontal = steps[:, 0] != 0
        assert (horizontal != np.roll(horizontal, 1)).all(), "a corner that is none"


def test_classes_share_their_borders() -> None:
    class_map = blobs(90, 70, classes=4)
    polygons = class_polygons(class_map)
    assert sorted(polygons) == np.unique(class_map).tolist()
    for index, outlines in polygons.items():
        assert np.array_equal(from_polygons(outlines, 90, 70), class_map == index)
    assert class_polygons(np.zeros((0, 3), np.uint8)) == {}


@settings(deadline=None, max_examples=100)
@given(masks)
def test_there_is_an_outline_for_each_part_and_each_hole(mask: np.ndarray) -> None:
    parts, _ = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    background, _ = cv2.connectedComponents(np.pad(~mask, 1, constant_values=True).astype(np.uint8), connectivity=8)
    areas = [area(polygon) for polygon in to_polygons(mask)]
    assert sum(value > 0 for value in areas) == parts - 1
    assert sum(value < 0 for value in areas) == background - 2


def test_pycocotools_fills_them_alike() -> None:
    """Where there are no holes, which COCO's polygons cannot have. Its own rounding moves some pixels of an outline:
    at least 0.99 of what it fills is the mask."""
    coco = pytest.importorskip("pycocotools.mask")
    class_map = blobs(300, 400, classes=4)
    compared = 0
    for index in range(4):
        _, parts = cv2.connectedComponents((class_map == index).astype(np.uint8), connectivity=4)
        for number in range(1, parts.max() + 1):
            mask = parts == number
            polygons = to_polygons(mask)
            if len(polygons) > 1 or mask.sum() < 400:
                continue
            theirs = coco.decode(coco.frPyObjects([polygons[0].reshape(-1).tolist()], 300, 400))[..., 0].astype(bool)
            assert (theirs & mask).sum() / (theirs | mask).sum() >= 0.99
            compared += 1
    assert compared > 3


def test_polygons_with_any_angles() -> None:
    """Against OpenCV's test of each pixel's centre."""
    triangle, square = np.array([[2.3, 1.2], [27.9, 14.1], [5.5, 28.7]]), np.array([[8, 8], [14, 8], [14, 20], [8, 20]])
    filled = from_polygons([triangle, square], 30, 30)
    for y in range(30):
        for x in range(30):
            inside = [
                cv2.pointPolygonTest(polygon.astype(np.float32), (x + 0.5, y + 0.5), False) > 0
                for polygon in (triangle, square)
            ]
            assert filled[y, x] == (inside[0] != inside[1]), (x, y)


def test_beyond_the_image_polygons_are_cut_off() -> None:
    assert from_polygons([np.array([[-5, -5], [50, -5], [50, 50], [-5, 50]])], 4, 6).all()
    assert not from_polygons([np.array([[10, 0], [20, 0], [20, 9]])], 4, 6).any()
    assert from_polygons([], 4, 6).shape == (4, 6)


def test_twelve_megapixels() -> None:
    class_map = blobs(3000, 4000)
    polygons = class_polygons(class_map)
    # About 50 times as long as a copy of the class map.
    assert copies_of(class_map, lambda: class_polygons(class_map)) < 1000
    assert np.array_equal(from_polygons(polygons[3], 3000, 4000), class_map == 3)
