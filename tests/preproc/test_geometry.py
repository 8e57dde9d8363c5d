"""The resize rules, and the way back to the original image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvserve.artifact import PreprocSpec
from cvserve.preproc import Geometry, resize, resize_to
from cvserve.preproc.geometry import plan, reduction

RULES = st.sampled_from(["exact", "short_side", "letterbox"])
# Mostly small, with some that are long and thin.
SIDES = st.integers(1, 60) | st.sampled_from([1, 2, 300, 1000, 5000])
TARGETS = st.integers(1, 70)


@st.composite
def specs(draw: st.DrawFn) -> PreprocSpec:
    rule = draw(RULES)
    return PreprocSpec(
        height=draw(TARGETS),
        width=draw(TARGETS),
        resize=rule,
        short_side=draw(st.none() | TARGETS) if rule == "short_side" else None,
        interpolation=draw(st.sampled_from(["linear", "cubic", "nearest"])),
    )


@settings(deadline=None, max_examples=150)
@given(SIDES, SIDES, specs())
def test_every_image_comes_out_in_the_specs_size_and_maps_back(width: int, height: int, spec: PreprocSpec) -> None:
    image = np.full((height, width, 3), 90, np.uint8)
    pixels, geometry = resize(image, spec)
    assert pixels.shape == (spec.height, spec.width, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert (geometry.original_width, geometry.original_height) == (width, height)
    if spec.resize != "letterbox":
        assert (pixels == 90).all()
    else:
        assert (pixels == 90).all(axis=2).any()

    boxes = np.array([[0, 0, width, height], [width * 0.25, 0, width * 0.5, height * 0.9]])
    assert np.allclose(geometry.to_original(geometry.to_input(boxes)), boxes, atol=1e-3 * max(width, height))


@pytest.mark.parametrize(("width", "height"), [(4000, 4000), (5000, 4999), (100, 160_000)])
def test_millions_of_pixels_have_a_mean(width: int, height: int) -> None:
    """cv2's own sums of so many overflow."""
    image = np.full((height, width, 3), (255, 200, 0), np.uint8)
    assert resize_to(image, 1, 1).tolist() == [[[255, 200, 0]]]


@settings(deadline=None)
@given(st.integers(1, 5000), st.integers(1, 5000), specs())
def test_the_plan_covers_or_fits(width: int, height: int, spec: PreprocSpec) -> None:
    steps = plan(width, height, spec)
    geometry = steps.geometry(width, height)
    if spec.resize == "letterbox":
        assert steps.width <= spec.width
        assert steps.height <= spec.height
        assert steps.width == spec.width or steps.height == spec.height
        # One side fills the input, the other keeps the shape to within a pixel of the input (at least one is there).
        assert abs(steps.width - max(1, width * min(spec.width / width, spec.height / height))) <= 1
        assert abs(steps.height - max(1, height * min(spec.width / width, spec.height / height))) <= 1
        assert abs(2 * steps.left - (spec.width - steps.width)) <= 1
        assert abs(2 * steps.top - (spec.height - steps.height)) <= 1
    else:
        # The input lies inside the image.
        left, top, right, bottom = geometry.to_input(np.array([[0, 0, width, height]]))[0]
        assert left <= 1e-2
        assert top <= 1e-2
        assert right >= spec.width - 1e-2
        assert bottom >= spec.height - 1e-2
    if spec.resize == "short_side":
        # The centre stays the centre, to a pixel of the input.
        x, y = geometry.to_input(np.array([[width / 2, height / 2, 0, 0]]))[0, :2]
        assert abs(x - spec.width / 2) <= 1 + 1e-2
        assert abs(y - spec.height / 2) <= 1 + 1e-2


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (PreprocSpec(height=224, width=224, short_side=256), Geometry(400, 300, 341 / 400, 256 / 300, -58, -16)),
        (PreprocSpec(height=224, width=224), Geometry(400, 300, 299 / 400, 224 / 300, -37, 0)),
        # A short side smaller than the input cannot be: the input is covered.
        (PreprocSpec(height=224, width=224, short_side=64), Geometry(400, 300, 299 / 400, 224 / 300, -37, 0)),
        (PreprocSpec(height=100, width=200, resize="exact"), Geometry(400, 300, 0.5, 1 / 3, 0, 0)),
        (PreprocSpec(height=320, width=320, resize="letterbox"), Geometry(400, 300, 0.8, 0.8, 0, 40)),
        (PreprocSpec(height=600, width=1000, resize="letterbox"), Geometry(400, 300, 2, 2, 100, 0)),
    ],
)
def test_worked_examples(spec: PreprocSpec, expected: Geometry) -> None:
    _, geometry = resize(np.zeros((300, 400, 3), np.uint8), spec)
    for name in ("original_width", "original_height", "scale_x", "scale_y", "offset_x", "offset_y"):
        assert getattr(geometry, name) == pytest.approx(getattr(expected, name)), name


@pytest.mark.parametrize("rule", ["exact", "short_side", "letterbox"])
@pytest.mark.parametrize(("width", "height"), [(400, 300), (300, 400), (60, 45), (1200, 500)])
def test_a_box_found_in_the_input_is_where_it_was_in_the_original(rule: str, width: int, height: int) -> None:
    spec = PreprocSpec(height=200, width=240, resize=rule, fill=(0, 0, 0))  # type: ignore[arg-type]
    box = np.array([[width * 0.4, height * 0.4, width * 0.6, height * 0.7]]).round()
    x1, y1, x2, y2 = box[0].astype(int)
    image = np.zeros((height, width, 3), np.uint8)
    image[y1:y2, x1:x2] = 255
    pixels, geometry = resize(image, spec)
    rows, columns = np.nonzero(pixels[..., 0] >= 128)
    found = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]])
    # Half a pixel of the input, or of the original where that is larger.
    tolerance = 0.5 * max(1, 1 / min(geometry.scale_x, geometry.scale_y)) + 0.5
    assert np.abs(geometry.to_original(found) - box).max() <= tolerance


def test_to_original_clips_to_the_image_and_takes_no_boxes() -> None:
    geometry = Geometry(100, 50, 0.5, 0.5, 10, 20)
    boxes = geometry.to_original(np.array([[-50, -50, 500, 500], [15, 25, 20, 30]]))
    assert boxes.dtype == np.float32
    assert boxes.tolist() == [[0, 0, 100, 50], [10, 10, 20, 20]]
    assert geometry.to_original(np.zeros((0, 4))).shape == (0, 4)


def test_letterbox_fills_what_is_left() -> None:
    spec = PreprocSpec(height=40, width=40, resize="letterbox", fill=(1, 2, 3))
    pixels, geometry = resize(np.full((10, 20, 3), 200, np.uint8), spec)
    assert geometry == Geometry(20, 10, 2, 2, 0, 10)
    assert (pixels[:10] == (1, 2, 3)).all()
    assert (pixels[10:30] == 200).all()
    assert (pixels[30:] == (1, 2, 3)).all()


@settings(deadline=None, max_examples=50)
@given(st.integers(8, 80), st.integers(8, 80), st.integers(1, 8), st.integers(1, 8), st.integers(0, 10))
def test_shrinking_keeps_the_mean(width: int, height: int, to_width: int, to_height: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    small = resize_to(image, to_width, to_height, "nearest")
    assert small.shape == (to_height, to_width, 3)
    # Each result is rounded to a level.
    assert np.abs(small.mean((0, 1)) - image.mean((0, 1))).max() <= 1.0


def test_shrinking_is_the_mean_of_each_block_and_enlarging_is_not() -> None:
    image = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)
    blocks = image.reshape(3, 4, 5, 4, 3).mean((1, 3))
    assert np.abs(resize_to(image, 5, 3) - blocks).max() <= 0.5 + 1e-6
    assert np.array_equal(resize_to(image, 40, 24, "nearest"), image.repeat(2, 0).repeat(2, 1))
    # Narrower but higher: a mean across, then repeated down.
    across = image.reshape(12, 5, 4, 3).mean(2)
    assert np.abs(resize_to(image, 5, 24, "nearest") - across.repeat(2, 0)).max() <= 0.5 + 1e-6
    assert resize_to(image, 20, 12) is image
    assert resize_to(image[..., 0], 5, 24).shape == (24, 5)


@settings(deadline=None)
@given(st.integers(1, 6000), st.integers(1, 6000), specs())
def test_the_reduction_is_the_largest_that_leaves_a_factor_of_two(width: int, height: int, spec: PreprocSpec) -> None:
    steps = plan(width, height, spec)
    allowed = [
        factor
        for factor in (1, 2, 4, 8)
        if factor == 1 or min(width / factor / steps.width, height / factor / steps.height) >= 2
    ]
    assert reduction(width, height, spec) == max(allowed)
