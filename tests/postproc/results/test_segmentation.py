"""Segmentations as they are sent and written: rows by hand, every format back to the same class map."""

from __future__ import annotations

import base64
import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cvserve.errors import InvalidInput
from cvserve.postproc import MASK_FORMATS, ClassArea, Options, SegmentationResult, encode_segmentation

NAMES = ("road", "tree", "sky", "car")
CONFIDENCE = np.array([0.25, 0.5, 0, 0.75], np.float32)


def result(class_map: list[list[int]] | np.ndarray, **options: tuple) -> SegmentationResult:
    return SegmentationResult(np.array(class_map, np.uint8), CONFIDENCE, NAMES, **options)


def test_classes_by_size() -> None:
    assert result([[3, 1, 1], [3, 1, 0]]).classes == (
        ClassArea("tree", 1, 0.5, 0.5),
        ClassArea("car", 3, 2 / 6, 0.75),
        ClassArea("road", 0, 1 / 6, 0.25),
    )


def test_rows_by_hand() -> None:
    found = result([[1, 1, 0], [1, 1, 0]])
    plain = {
        "width": 3,
        "height": 2,
        "segmentation": {
            "classes": [
                {"label": "tree", "index": 1, "coverage": 0.666667, "confidence": 0.5},
                {"label": "road", "index": 0, "coverage": 0.333333, "confidence": 0.25},
            ]
        },
    }
    assert found.to_dict("none") == plain
    rle = found.to_dict("rle")
    assert [item.pop("mask") for item in rle["segmentation"]["classes"]] == [
        {"size": [2, 3], "counts": "042"},
        {"size": [2, 3], "counts": "42"},
    ]
    assert rle == plain
    polygons = found.to_dict("polygons")
    assert [item.pop("mask") for item in polygons["segmentation"]["classes"]] == [
        [[0, 0, 2, 0, 2, 2, 0, 2]],
        [[2, 0, 3, 0, 3, 2, 2, 2]],
    ]
    assert polygons == plain
    png = found.to_dict()
    data = base64.b64decode(png["segmentation"].pop("class_map"))
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED).tolist() == [[1, 1, 0], [1, 1, 0]]
    assert png == plain
    for mask_format in MASK_FORMATS:
        json.dumps(found.to_dict(mask_format))


@settings(deadline=None)
@given(
    st.tuples(st.integers(1, 20), st.integers(1, 20)).flatmap(
        lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 3))
    ),
    st.sampled_from(["png", "rle", "polygons"]),
)
def test_every_format_gives_the_class_map_again(class_map: np.ndarray, mask_format: str) -> None:
    encoded = encode_segmentation(result(class_map), mask_format)
    decoded = encoded.decode([(index, 0, 0) for index in range(4)])
    assert np.array_equal(decoded.class_map, class_map)
    there = {item.index for item in decoded.classes}
    assert there == set(np.unique(class_map).tolist())
    for index, name in enumerate(decoded.names):
        assert name == (NAMES[index] if index in there else "")
    assert decoded.classes == result(class_map).classes
    assert len(decoded.colors) == len(decoded.names)


def test_what_cannot_be_decoded() -> None:
    found = result([[0, 1], [0, 1]])
    with pytest.raises(InvalidInput, match="the request had mask_format none"):
        encode_segmentation(found, "none").decode()
    with pytest.raises(InvalidInput, match="mask_format must be png, rle, polygons or none, not 'gif'"):
        encode_segmentation(found, "gif")
    with pytest.raises(InvalidInput, match="mask_format must be"):
        Options(mask_format="gif")
    assert Options(mask_format="rle").mask_format == "rle"
    png = encode_segmentation(found)
    with pytest.raises(InvalidInput, match="the class map is 2 x 2, the image 3 x 2"):
        type(png)(3, 2, png.classes, "png", png.png).decode()
    with pytest.raises(InvalidInput, match="the class map has class 1, of which no name is given"):
        type(png)(2, 2, png.classes[:1], "png", png.png).decode()
    polygons = encode_segmentation(found, "polygons")
    with pytest.raises(InvalidInput, match="leave pixels without a class"):
        type(png)(2, 2, png.classes, "polygons", b"", (polygons.masks[0], ())).decode()
