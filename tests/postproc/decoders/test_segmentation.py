"""Class maps in the size of the original: nearest pixel centres, nothing of the padding, clear errors."""

from __future__ import annotations

import itertools
from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relative_time import copies_of

from cvserve.artifact import PreprocSpec, SegmentationPostproc
from cvserve.errors import ArtifactError, InvalidInput
from cvserve.postproc import NetworkContract, SegmentationResult, decode_outputs
from cvserve.postproc.decoders.segmentation import decode_segmentation, nearest_pixels
from cvserve.preproc import Geometry
from cvserve.preproc.geometry import plan, resize

LABELS = tuple(f"class {index}" for index in range(5))


def contract(height: int, width: int, colors: tuple = (), **preproc: object) -> NetworkContract:
    spec = PreprocSpec.model_validate({"height": height, "width": width, "resize": "letterbox"} | preproc)
    roles = ("class_map", "confidence")
    return NetworkContract.of("streets", "segmentation", LABELS, spec, SegmentationPostproc(colors=colors), roles)


def random_answers(height: int, width: int, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "class_map": random.integers(0, len(LABELS), (1, height, width), np.uint8),
        "confidence": random.uniform(0.2, 1, (1, height, width)).astype(np.float32),
    }


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.sampled_from(["exact", "letterbox", "short_side"]),
    st.sampled_from([None, 20]),
)
def test_each_pixel_has_the_class_in_which_its_center_lies(
    height: int, width: int, mode: str, short_side: int | None
) -> None:
    """Against exact fractions, pixel by pixel; where a centre lies on a border, either side is right."""
    network = contract(12, 16, resize=mode, short_side=short_side if mode == "short_side" else None)
    steps = plan(width, height, network.preproc)
    answers = random_answers(12, 16)
    [result] = decode_segmentation(answers, [steps.geometry(width, height)], network)
    assert result.class_map.shape == (height, width)
    scale_x = Fraction(steps.width, steps.keep[2] - steps.keep[0])
    scale_y = Fraction(steps.height, steps.keep[3] - steps.keep[1])
    content = (max(steps.left, 0), max(steps.top, 0))
    ends = (min(steps.left + steps.width, 16) - 1, min(steps.top + steps.height, 12) - 1)
    for y, x in itertools.product(range(height), range(width)):
        at_x = (x - steps.keep[0] + Fraction(1, 2)) * scale_x + steps.left
        at_y = (y - steps.keep[1] + Fraction(1, 2)) * scale_y + steps.top
        columns = {min(max(value, content[0]), ends[0]) for value in _pixels(at_x)}
        rows = {min(max(value, content[1]), ends[1]) for value in _pixels(at_y)}
        allowed = {answers["class_map"][0, row, column] for row in rows for column in columns}
        assert result.class_map[y, x] in allowed, (y, x)


def _pixels(at: Fraction) -> set[int]:
    floor = at.numerator // at.denominator
    return {floor, floor - 1} if at == floor else {floor}


@pytest.mark.parametrize("size", [(480, 640), (300, 448), (1344, 448), (1080, 1920)])
def test_padding_is_cut_away_and_the_rest_enlarged_as_opencv_does(size: tuple[int, int]) -> None:
    height, width = size
    network = contract(48, 64)
    steps = plan(width, height, network.preproc)
    answers = random_answers(48, 64)
    answers["class_map"][:] = np.where(answers["class_map"] == 4, 0, answers["class_map"])
    inside = answers["class_map"][0, steps.top : steps.top + steps.height, steps.left : steps.left + steps.width]
    wanted = cv2.resize(inside, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    padding = np.ones((48, 64), bool)
    padding[steps.top : steps.top + steps.height, steps.left : steps.left + steps.width] = False
    answers["class_map"][0][padding] = 4
    [result] = decode_segmentation(answers, [steps.geometry(width, height)], network)
    assert np.array_equal(result.class_map, wanted)
    assert result.coverage[4] == result.confidence[4] == 0
    assert result.coverage.sum() == pytest.approx(1)


def test_confidence_is_the_mean_over_the_pixels_of_a_class() -> None:
    network = contract(40, 40, resize="exact")
    answers = random_answers(40, 40)
    geometry = plan(90, 130, network.preproc).geometry(90, 130)
    [result] = decode_segmentation(answers, [geometry], network)
    rows, columns = (nearest_pixels(length, 40 / length, 0.0, 40) for length in (130, 90))
    large = answers["confidence"][0][:, columns][rows]
    for index in range(len(LABELS)):
        here = result.class_map == index
        assert result.confidence[index] == pytest.approx(large[here].mean(), abs=1e-5)
        assert result.coverage[index] == pytest.approx(here.mean())


def test_a_class_that_shrinking_removes_has_no_confidence() -> None:
    answers = {"class_map": np.zeros((1, 40, 40), np.uint8), "confidence": np.full((1, 40, 40), 0.5, np.float32)}
    answers["class_map"][0, 0, 0] = 3
    network = contract(40, 40, resize="exact")
    [result] = decode_segmentation(answers, [plan(4, 4, network.preproc).geometry(4, 4)], network)
    assert result.confidence.tolist() == [0.5, 0, 0, 0, 0]


def test_beyond_a_center_crop_the_nearest_class_is_repeated() -> None:
    network = contract(10, 10, resize="short_side")
    answers = random_answers(10, 10)
    # 30 x 10: the middle third is what the graph sees.
    [result] = decode_segmentation(answers, [plan(30, 10, network.preproc).geometry(30, 10)], network)
    seen = answers["class_map"][0]
    assert np.array_equal(result.class_map[:, 10:20], seen)
    assert np.array_equal(result.class_map[:, :10], seen[:, :1].repeat(10, axis=1))
    assert np.array_equal(result.class_map[:, 20:], seen[:, -1:].repeat(10, axis=1))


def test_an_image_and_its_labels_are_mapped_alike() -> None:
    """What the pixels say is where the image has it: blocks of one grey each, letterboxed and brought back."""
    blocks = np.random.default_rng(1).integers(0, 5, (9, 12), np.uint8).repeat(40, axis=0).repeat(30, axis=1)
    image = np.repeat(blocks[..., None] * 50, 3, axis=2)
    network = contract(96, 96)
    pixels, geometry = resize(image, network.preproc)
    answers = {
        "class_map": np.clip(np.rint(pixels[None, ..., 0] / 50), 0, 4).astype(np.uint8),
        "confidence": np.ones((1, 96, 96), np.float32),
    }
    [result] = decode_segmentation(answers, [geometry], network)
    middles = (slice(20, None, 40), slice(15, None, 30))
    assert np.array_equal(result.class_map[middles], blocks[middles])
    assert (result.class_map == blocks).mean() > 0.93


def test_decode_outputs_knows_the_task() -> None:
    colors = tuple((index, 0, 0) for index in range(5))
    network = contract(12, 16, colors=colors)
    [result] = decode_outputs(random_answers(12, 16), [Geometry(16, 12)], network)
    assert isinstance(result, SegmentationResult)
    assert result.colors == colors
    assert np.array_equal(result.class_map, random_answers(12, 16)["class_map"][0])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"class_map": np.full((1, 12, 16), 5, np.uint8)}, "classes from 5 to 5, but there are 5 labels"),
        ({"class_map": np.zeros((1, 12, 15), np.uint8)}, r"the class_map is \[1, 12, 15\], not \[1, 12, 16\]"),
        ({"class_map": np.zeros((1, 12, 16), np.float32)}, "the class_map is float32, not whole numbers"),
        ({"confidence": np.zeros((1, 12, 16, 1), np.float32)}, r"the confidence is \[1, 12, 16, 1\]"),
        ({"confidence": np.full((1, 12, 16), np.nan, np.float32)}, "confidences that are not numbers"),
    ],
)
def test_other_outputs_are_errors(change: dict[str, np.ndarray], text: str) -> None:
    with pytest.raises(ArtifactError, match=text):
        decode_segmentation(random_answers(12, 16) | change, [Geometry(16, 12)], contract(12, 16))


def test_missing_outputs_and_geometries() -> None:
    answers = random_answers(12, 16)
    with pytest.raises(InvalidInput, match="answered for 1 images, 2 were given"):
        decode_segmentation(answers, [Geometry(16, 12)] * 2, contract(12, 16))
    del answers["confidence"]
    with pytest.raises(ArtifactError, match=r"no output 'confidence', only \['class_map'\]"):
        decode_segmentation(answers, [Geometry(16, 12)], contract(12, 16))


def test_twelve_megapixels_are_soon_done() -> None:
    network = contract(360, 480)
    answers = random_answers(360, 480)
    geometry = plan(4000, 3000, network.preproc).geometry(4000, 3000)
    [result] = decode_segmentation(answers, [geometry], network)
    # About 10 times as long as a copy of the class map.
    assert copies_of(result.class_map, lambda: decode_segmentation(answers, [geometry], network)) < 300
    assert result.class_map.shape == (3000, 4000)
    assert result.coverage.sum() == pytest.approx(1)


def test_results_are_compared_by_value() -> None:
    first, second = (
        decode_segmentation(random_answers(12, 16, seed), [Geometry(16, 12)], contract(12, 16))[0] for seed in (0, 1)
    )
    assert first == decode_segmentation(random_answers(12, 16), [Geometry(16, 12)], contract(12, 16))[0]
    assert first != second
    assert first != "a class map"
