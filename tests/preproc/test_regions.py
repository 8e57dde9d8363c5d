"""Regions from pixels alone. What OpenCV's contributed modules find is only asked where they are installed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from cvserve.errors import InvalidInput, MissingExtra
from cvserve.postproc.boxes import iou_matrix
from cvserve.preproc.regions import METHODS, find_regions

contributed = pytest.mark.skipif(not hasattr(cv2, "ximgproc"), reason="OpenCV's contributed modules are not installed")


def _image() -> tuple[np.ndarray, np.ndarray]:
    boxes = np.array([[20, 30, 90, 80], [120, 60, 170, 150]], np.float32)
    pixels = np.full((180, 200, 3), 90, np.uint8) + np.random.default_rng(0).integers(0, 8, (180, 200, 3), np.uint8)
    for (x1, y1, x2, y2), color in zip(boxes.astype(int), ((220, 40, 40), (40, 60, 220)), strict=True):
        pixels[y1:y2, x1:x2] = color
    return pixels, boxes


def test_an_unknown_method_is_one_sentence() -> None:
    with pytest.raises(InvalidInput, match="called 'magic'; known: selective_search, edge_boxes"):
        find_regions(_image()[0], "magic", 10)


@pytest.mark.parametrize("method", METHODS)
def test_a_missing_extra_is_named(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "ximgproc", raising=False)
    with pytest.raises(MissingExtra, match=r"contributed modules: it needs pip install 'cvserve\[proposals\]'"):
        find_regions(_image()[0], method, 10)


@contributed
@pytest.mark.parametrize("method", METHODS)
def test_plain_rectangles_are_found(method: str) -> None:
    pixels, boxes = _image()
    found = find_regions(pixels, method, 200)
    assert found.dtype == np.float32
    assert 0 < len(found) <= 200
    assert (found[:, 2:] > found[:, :2]).all()
    assert found.min() >= 0
    assert (found[:, 2:] <= (200, 180)).all()
    assert (iou_matrix(boxes, found).max(axis=1) > 0.7).all()
    np.testing.assert_array_equal(find_regions(pixels, method, 200), found)
    np.testing.assert_array_equal(find_regions(pixels, method, 3), found[:3])


@contributed
@pytest.mark.parametrize("method", METHODS)
def test_an_empty_image_has_few_regions_or_none(method: str) -> None:
    found = find_regions(np.zeros((64, 64, 3), np.uint8), method, 50)
    assert found.shape[1:] == (4,)
    assert len(found) <= 50
