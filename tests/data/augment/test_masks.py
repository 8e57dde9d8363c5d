"""Labels stay with their pixels: images are painted in the colours of their labels, which are read from them again."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_files import painted, random_labels

from cvserve.artifact import PreprocSpec
from cvserve.data import VOID, Augmentation
from cvserve.data.augment.masks import MaskedImage, augment_masked
from cvserve.data.augment.placement import SizedImage, nearest
from cvserve.data.masks import labels_in_input
from cvserve.preproc import Geometry, resize, resize_to
from cvserve.preproc.geometry import plan

SPEC = PreprocSpec(height=96, width=128, resize="letterbox", fill=(255, 0, 255))


def only(**options: object) -> Augmentation:
    return Augmentation(**{**Augmentation.none().model_dump(), **options})


MOVES = only(flip=0.5, vertical_flip=0.5, half_turn=0.5, quarter_turn=0.5, scale=(0.5, 2.0), translate=0.2)


def example(labels: np.ndarray, shrink: float = 1.0) -> MaskedImage:
    """A painted image, kept at `shrink` of its size."""
    height, width = labels.shape
    kept = resize_to(painted(labels), max(1, round(width * shrink)), max(1, round(height * shrink)))
    geometry = Geometry(width, height, kept.shape[1] / width, kept.shape[0] / height)
    return MaskedImage(SizedImage(kept, geometry), labels_in_input(labels, geometry, *kept.shape[:2]))


def nearest_label(pixels: np.ndarray, spec: PreprocSpec = SPEC) -> np.ndarray:
    """The label whose colour is nearest; 254 is padding."""
    palette = painted(np.arange(256, dtype=np.uint8)[None])[0].astype(int)
    palette[254] = spec.fill
    known = np.array([0, 1, 2, 254, 255])
    distances = ((pixels[:, :, None].astype(int) - palette[known]) ** 2).sum(-1)
    return known[distances.argmin(-1)]


@settings(max_examples=120, deadline=None)
@given(
    st.integers(100, 260),
    st.integers(100, 260),
    st.integers(0, 10**6),
    st.sampled_from(["letterbox", "exact", "short_side"]),
    st.sampled_from([1.0, 0.7]),
)
def test_labels_are_where_their_pixels_are(width: int, height: int, seed: int, rule: str, shrink: float) -> None:
    if shrink < 1:
        # What is kept small is never shown much larger (as in a pipeline), or its edges would blur over many pixels.
        width, height = width + 60, height + 60
    spec = SPEC.model_copy(update={"resize": rule})
    labels = random_labels(height, width, seed)
    pixels, shown = augment_masked(example(labels, shrink), spec, MOVES, np.random.default_rng(seed))
    assert pixels.shape == (96, 128, 3)
    assert (shown.shape, shown.dtype) == ((96, 128), np.uint8)
    assert set(np.unique(shown)) <= set(np.unique(labels)) | {VOID}
    seen = nearest_label(pixels)
    # Padding is void; where colours are mixed, at borders, the nearest may be another one.
    assert (shown[seen == 254] == VOID).mean() > 0.99 if (seen == 254).any() else True
    seen[seen == 254] = VOID
    kernel = np.ones((5, 5), np.uint8)
    inside = cv2.erode(shown, kernel) == cv2.dilate(shown, kernel)
    # At the frame's edge the other label may be outside it.
    inside[[0, 1, -2, -1]] = inside[:, [0, 1, -2, -1]] = False
    # A sliver that no label's pixel hits may still tint a pixel or two.
    assert (seen[inside] != shown[inside]).mean() < 0.002
    assert inside.any()


def test_flips_and_turns_are_exact() -> None:
    labels = random_labels(96, 96, 4)
    labels[:5, :30] = 0  # No symmetry.
    spec = SPEC.model_copy(update={"width": 96, "resize": "exact"})
    augmentation = only(flip=0.5, vertical_flip=0.5, half_turn=0.5, quarter_turn=0.5)
    ways = set()
    for seed in range(80):
        pixels, shown = augment_masked(example(labels), spec, augmentation, np.random.default_rng(seed))
        np.testing.assert_array_equal(pixels, painted(shown))
        ways.add(shown.tobytes())
    laid = [np.rot90(way, turns) for way in (labels, labels[:, ::-1]) for turns in range(4)]
    assert ways == {np.ascontiguousarray(way).tobytes() for way in laid}


def test_the_same_state_gives_the_same_example() -> None:
    augmentation = MOVES.model_copy(update={"brightness": 0.3, "hue": 0.1})
    one, other, third = (
        augment_masked(example(random_labels(80, 90, 1)), SPEC, augmentation, np.random.default_rng(seed))
        for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_array_equal(one[1], other[1])
    assert (one[1] != third[1]).any()


def test_colors_leave_labels_alone() -> None:
    labels = random_labels(96, 128, 2)
    pixels, shown = augment_masked(
        example(labels), SPEC, only(brightness=0.5, translate=0.0, flip=0.0, hue=0.5), np.random.default_rng(0)
    )
    np.testing.assert_array_equal(shown, labels)
    assert (pixels != painted(labels)).any()


def test_some_labelled_pixel_is_visible() -> None:
    """One labelled spot in a corner, and places that mostly miss it."""
    labels = np.full((96, 128), VOID, np.uint8)
    labels[:12, :12] = 1
    augmentation = only(scale=(3.0, 3.0))
    seen = [
        (augment_masked(example(labels), SPEC, augmentation, np.random.default_rng(seed))[1] == 1).any()
        for seed in range(30)
    ]
    assert all(seen)


def test_all_void_is_shown_as_served() -> None:
    labels = np.full((48, 64), VOID, np.uint8)
    pixels, shown = augment_masked(example(labels), SPEC, only(scale=(3.0, 3.0)), np.random.default_rng(0))
    assert (shown == VOID).all()
    np.testing.assert_array_equal(pixels, resize(painted(labels), SPEC)[0])


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_nearest_takes_the_pixel_under_the_center(height: int, width: int, new_height: int, new_width: int) -> None:
    labels = np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)
    found = nearest(labels, new_width, new_height)
    for y in range(new_height):
        for x in range(new_width):
            # Whole numbers: the centre is at (2 x + 1) / (2 new) of the side.
            row, column = (2 * y + 1) * height // (2 * new_height), (2 * x + 1) * width // (2 * new_width)
            at_an_edge = not (2 * y + 1) * height % (2 * new_height) or not (2 * x + 1) * width % (2 * new_width)
            assert at_an_edge or found[y, x] == labels[row, column]


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from(["letterbox", "exact", "short_side"]))
def test_the_input_shows_the_labels_that_serving_shows(height: int, width: int, rule: str) -> None:
    """By brute force: padding is void, all else the label of the pixel at the centre."""
    spec = PreprocSpec(height=13, width=17, resize=rule)
    labels = np.random.default_rng(1).integers(0, 255, (height, width), np.uint8)
    steps = plan(width, height, spec)
    geometry = steps.geometry(width, height)
    shown = labels_in_input(labels, geometry, 13, 17)
    for y in range(13):
        for x in range(17):
            if not (steps.left <= x < steps.left + steps.width and steps.top <= y < steps.top + steps.height):
                assert shown[y, x] == VOID
                continue
            column = (x + 0.5 - geometry.offset_x) / geometry.scale_x
            row = (y + 0.5 - geometry.offset_y) / geometry.scale_y
            rows = {min(max(int(np.floor(row + shift)), 0), height - 1) for shift in (-1e-9, 1e-9)}
            columns = {min(max(int(np.floor(column + shift)), 0), width - 1) for shift in (-1e-9, 1e-9)}
            assert shown[y, x] in {labels[r, c] for r in rows for c in columns}


@pytest.mark.parametrize("rule", ["letterbox", "exact", "short_side"])
def test_unmoved_is_as_served(rule: str) -> None:
    """What `Placement` does with a whole image is what `preproc` does, labels too."""
    spec = SPEC.model_copy(update={"resize": rule})
    labels = random_labels(70, 110, 7)
    served = resize(painted(labels), spec)
    moved, shown = augment_masked(example(labels), spec, only(flip=1e-9), np.random.default_rng(0))
    assert np.abs(moved.astype(int) - served[0]).mean() < 2
    expected = labels_in_input(labels, served[1], spec.height, spec.width)
    assert (shown == expected).mean() > 0.99
