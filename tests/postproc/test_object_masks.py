"""Masks of objects as run lengths, and masks of boxes' cells in the image."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvserve.artifact import BoxCoding, DetectionPostproc, PreprocSpec
from cvserve.errors import InvalidInput
from cvserve.postproc import DetectionResult, NetworkContract, ObjectMasks, Options, decode_outputs
from cvserve.postproc.encoded_masks import coco_mask, mask_to_polygons
from cvserve.postproc.masks import from_png, run_lengths
from cvserve.postproc.pasting import paste
from cvserve.postproc.polygons import from_polygons
from cvserve.preproc import Geometry

densities = st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0])


def some(seed: int, height: int, width: int, density: float, count: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).random((count, height, width)) < density


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 12), densities)
def test_masks_come_back(seed: int, height: int, width: int, density: float) -> None:
    masks = some(seed, height, width, density)
    kept = ObjectMasks.of(masks)
    assert kept.areas.tolist() == masks.sum(axis=(1, 2)).tolist()
    for index, mask in enumerate(masks):
        np.testing.assert_array_equal(kept.counts[index], run_lengths(mask))
        np.testing.assert_array_equal(kept.mask(index), mask)
        _, _, crop = kept.crop(index)
        # The crop holds all, and none of its sides is empty.
        assert crop.sum() == mask.sum()
        assert not crop.size or (crop[0].any() and crop[-1].any() and crop[:, 0].any() and crop[:, -1].any())
        np.testing.assert_array_equal(from_polygons(mask_to_polygons(kept, index), height, width), mask)
    assert kept[np.array([False, True])] == ObjectMasks.of(masks[1:])
    assert kept[:1] == ObjectMasks.of(masks[:1])


def test_unwanted_masks_are_not_pasted(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = {
        "boxes": np.array([[[1, 1, 5, 5]]], np.float32),
        "scores": np.array([[0.9]], np.float32),
        "classes": np.array([[0]], np.int32),
        "masks": np.full((1, 1, 4, 4), 0.9, np.float32),
    }
    postproc = DetectionPostproc(boxes=BoxCoding(kind="boxes"))
    contract = NetworkContract.of(
        "one", "detection", ("cell",), PreprocSpec(height=8, width=8), postproc, tuple(outputs)
    )
    [whole] = decode_outputs(outputs, [Geometry(8, 8)], contract)
    assert isinstance(whole, DetectionResult)
    assert whole.masks is not None
    monkeypatch.setattr("cvserve.postproc.decoders.detection.paste", None)
    [bare] = decode_outputs(outputs, [Geometry(8, 8)], contract, Options(mask_format="none"))
    assert isinstance(bare, DetectionResult)
    assert bare.masks is None
    assert bare.boxes.tolist() == whole.boxes.tolist()


def test_pycocotools_reads_them() -> None:
    api = pytest.importorskip("pycocotools.mask")
    masks = some(0, 9, 7, 0.4)
    kept = ObjectMasks.of(masks)
    for index, mask in enumerate(masks):
        np.testing.assert_array_equal(api.decode(coco_mask(kept, index)), mask)


def test_counts_with_empty_runs_are_the_same_mask() -> None:
    """COCO's files may hold them."""
    masks = ObjectMasks((np.array([3, 2, 0, 1, 0, 3, 3]),), 3, 4)
    np.testing.assert_array_equal(masks.mask(0).T.reshape(-1), np.repeat([0, 1, 0], [3, 6, 3]))


def test_counts_of_another_size_are_refused() -> None:
    with pytest.raises(InvalidInput, match="run lengths of 11 pixels are not those of a mask of 4 x 3"):
        ObjectMasks((np.array([5, 6]),), 3, 4)


class TestPaste:
    def test_whole_boxes(self) -> None:
        """The pixels whose centres lie in the box."""
        masks = paste(
            np.ones((3, 4, 4), np.float32), np.array([[2, 3, 7, 9], [1.6, 0.4, 3.4, 2.6], [-9, -9, 99, 99]]), 12, 10
        )
        assert masks.crop(0)[:2] == (2, 3)
        assert masks.crop(0)[2].shape == (6, 5)
        assert masks.crop(1)[:2] == (2, 0)
        assert masks.crop(1)[2].shape == (3, 1)
        assert masks.areas.tolist() == [30, 3, 120]

    def test_cells_stay_in_their_place(self) -> None:
        """At a whole number of pixels a cell, blocks of cells come back but for the bilinear borders' halves."""
        mask = np.zeros((1, 4, 4), np.float32)
        mask[0, :2, 1:] = 1
        found = paste(mask, np.array([[10, 20, 50, 60]]), 100, 100).mask(0)
        wanted = np.zeros((100, 100), bool)
        wanted[20:40, 20:50] = True
        # Right at the corner of the block the bilinear surface is 1/4.
        assert (found != wanted).sum() <= 40
        assert found[20:38, 22:50].all()

    def test_a_box_beyond_the_image_is_cut_not_squeezed(self) -> None:
        mask = np.zeros((1, 2, 2), np.float32)
        mask[0, :, 1] = 1
        found = paste(mask, np.array([[-10, 0, 10, 10]]), 10, 20).mask(0)
        assert found[:, :10].all()
        assert not found[:, 10:].any()

    def test_nothing_above_one_half_is_an_empty_mask(self) -> None:
        masks = paste(np.full((1, 4, 4), 0.49, np.float32), np.array([[0, 0, 8, 8]]), 10, 10)
        assert masks.areas.tolist() == [0]
        assert masks.crop(0)[2].shape == (0, 0)


def test_rows_hold_the_masks_in_the_format_asked_for() -> None:
    masks = ObjectMasks.of(some(1, 6, 5, 0.5, count=1))
    result = DetectionResult(
        np.array([[0, 0, 5, 6]], np.float32),
        np.array([0.5], np.float32),
        np.array([0], np.int32),
        ("cat",),
        5,
        6,
        masks,
    )
    assert result.to_dict()["detections"][0]["mask"] == coco_mask(masks, 0)
    [outlines] = [row["mask"] for row in result.to_dict("polygons")["detections"]]
    np.testing.assert_array_equal(from_polygons([np.array(item) for item in outlines], 6, 5), masks.mask(0))
    png = base64.b64decode(result.to_dict("png")["detections"][0]["mask"])
    np.testing.assert_array_equal(from_png(png), masks.mask(0) * 255)
    assert "mask" not in result.to_dict("none")["detections"][0]
    assert result[result.scores > 0.6].masks == ObjectMasks((), 6, 5)
    with pytest.raises(ValueError, match="0 masks do not fit 1 boxes"):
        DetectionResult(result.boxes, result.scores, result.indexes, ("cat",), 5, 6, ObjectMasks((), 6, 5))
