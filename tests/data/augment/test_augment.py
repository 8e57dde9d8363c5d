"""Augmentation: nothing when off, exactly what the configuration says when on."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cvserve.artifact import PreprocSpec
from cvserve.data import Augmentation
from cvserve.data.augment.augment import augment, color_matrix, crop_box, flip_and_color
from cvserve.preproc import preprocess, resize, resize_to

OFF = Augmentation.none()


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return cv2.resize(rng.integers(0, 256, (9, 9, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)


def only(**options: object) -> Augmentation:
    return Augmentation(**{**OFF.model_dump(), **options})


@pytest.mark.parametrize("rule", ["short_side", "exact", "letterbox"])
@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 200), width=st.integers(1, 200), seed=st.integers(0, 9))
def test_none_is_preprocess_byte_for_byte(rule: str, height: int, width: int, seed: int) -> None:
    spec = PreprocSpec(height=48, width=64, resize=rule, short_side=70 if rule == "short_side" else None)
    image = photo(height, width, seed)
    result = augment(image, spec, OFF, np.random.default_rng(seed))
    assert result.tobytes() == preprocess(image, spec)[0].tobytes()
    assert result.shape == (48, 64, 3)


def test_the_same_generator_state_gives_the_same_pixels_and_another_does_not() -> None:
    spec, image, full = PreprocSpec(height=32, width=32), photo(60, 80), Augmentation(hue=0.1)
    first = augment(image, spec, full, np.random.default_rng(1))
    np.testing.assert_array_equal(first, augment(image, spec, full, np.random.default_rng(1)))
    assert (first != augment(image, spec, full, np.random.default_rng(2))).any()


def test_the_image_is_not_written_to() -> None:
    image = photo(64, 64)
    image.flags.writeable = False
    for seed in range(20):
        augment(image, PreprocSpec(height=64, width=64), Augmentation(hue=0.2), np.random.default_rng(seed))


class TestFlip:
    def test_always(self) -> None:
        image, spec = photo(40, 40), PreprocSpec(height=40, width=40)
        flipped = augment(image, spec, only(flip=1.0), np.random.default_rng(0))
        np.testing.assert_array_equal(flipped, image[:, ::-1])

    def test_true_is_half_the_time(self) -> None:
        image = photo(8, 8)
        augmentation = only(flip=True)
        rngs = (np.random.default_rng(seed) for seed in range(400))
        flips = sum((flip_and_color(image, augmentation, rng) != image).any() for rng in rngs)
        assert augmentation.flip == 0.5
        assert 150 < flips < 250


class TestCrop:
    @settings(max_examples=200, deadline=None)
    @given(
        width=st.integers(1, 500),
        height=st.integers(1, 500),
        undistorted=st.floats(0.3, 3),
        least=st.floats(0.05, 1),
        seed=st.integers(0, 10**6),
    )
    def test_boxes_lie_in_the_image(self, width: int, height: int, undistorted: float, least: float, seed: int) -> None:
        augmentation = only(crop_scale=(least, 1.0))
        left, top, right, bottom = crop_box(width, height, undistorted, augmentation, np.random.default_rng(seed))
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height

    def test_areas_and_ratios_fill_their_ranges(self) -> None:
        augmentation = only(crop_scale=(0.25, 0.6), crop_aspect=(0.8, 1.25))
        rng = np.random.default_rng(0)
        boxes = np.array([crop_box(1000, 1000, 1.5, augmentation, rng) for _ in range(2000)])
        widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
        areas, ratios = widths * heights / 1e6, widths / heights / 1.5
        assert areas.min() == pytest.approx(0.25, abs=0.005)
        assert areas.max() == pytest.approx(0.6, abs=0.005)
        assert areas.mean() == pytest.approx(0.425, abs=0.01)
        assert ratios.min() == pytest.approx(0.8, abs=0.01)
        assert ratios.max() == pytest.approx(1.25, abs=0.01)
        # Places: as often near the left border as near the right.
        assert (boxes[:, 0] < 1000 - boxes[:, 2]).mean() == pytest.approx(0.5, abs=0.05)

    def test_no_box_fits_a_strip(self) -> None:
        box = crop_box(1000, 10, 1.0, only(crop_scale=(0.9, 1.0)), np.random.default_rng(0))
        assert box == (493, 0, 506, 10)  # the largest central box of the greatest ratio, 4 : 3

    def test_a_crop_is_resized_by_preproc(self) -> None:
        spec, image, augmentation = PreprocSpec(height=32, width=48), photo(300, 400), only(crop_scale=(0.3, 0.9))
        left, top, right, bottom = crop_box(400, 300, 48 / 32, augmentation, np.random.default_rng(5))
        expected = resize_to(image[top:bottom, left:right], 48, 32)
        np.testing.assert_array_equal(augment(image, spec, augmentation, np.random.default_rng(5)), expected)

    def test_distortion_is_that_of_serving(self) -> None:
        """The largest crop without a change of ratio is what serving shows, under every rule."""
        whole = only(crop_scale=(1.0, 1.0), crop_aspect=(1.0, 1.0))
        for rule, size in (("exact", (100, 300)), ("letterbox", (100, 300)), ("short_side", (64, 64))):
            spec, image = PreprocSpec(height=64, width=64, resize=rule), photo(*size)
            result = augment(image, spec, whole, np.random.default_rng(0))
            np.testing.assert_array_equal(result, resize(image, spec)[0], err_msg=rule)


class TestColor:
    @settings(max_examples=50, deadline=None)
    @given(seed=st.integers(0, 10**6), hue=st.sampled_from([0.0, 0.1, 0.5]))
    def test_the_matrix_is_the_four_steps_in_order(self, seed: int, hue: float) -> None:
        image = photo(16, 16, seed).astype(float) / 255
        augmentation = only(brightness=0.4, contrast=0.5, saturation=0.6, hue=hue)
        mean = tuple(image.mean(axis=(0, 1)))
        matrix = color_matrix(augmentation, mean, np.random.default_rng(seed))
        draws = np.random.default_rng(seed).uniform(-1, 1, size=4)
        luma = lambda pixels: (pixels @ [0.299, 0.587, 0.114])[..., None]  # noqa: E731
        expected = image * (1 + 0.4 * draws[0])
        expected = luma(expected).mean() + (1 + 0.5 * draws[1]) * (expected - luma(expected).mean())
        expected = luma(expected) + (1 + 0.6 * draws[2]) * (expected - luma(expected))
        angle = 2 * math.pi * hue * draws[3]
        expected = _turn_hue(expected, angle)
        np.testing.assert_allclose(image @ matrix[:, :3].T + matrix[:, 3], expected, atol=1e-3)

    def test_it_saturates(self) -> None:
        image = np.full((4, 4, 3), 250, np.uint8)
        bright = [flip_and_color(image, only(brightness=1.0), np.random.default_rng(seed)).max() for seed in range(20)]
        assert max(bright) == 255

    def test_grey_stays_grey_under_saturation_and_hue(self) -> None:
        image = np.full((4, 4, 3), 90, np.uint8)
        result = flip_and_color(image, only(saturation=1.0, hue=0.5), np.random.default_rng(0))
        np.testing.assert_array_equal(result, image)


def _turn_hue(pixels: np.ndarray, angle: float) -> np.ndarray:
    """In the complex numbers I + iQ; the matrix is that of https://en.wikipedia.org/wiki/YIQ (FCC NTSC, from RGB)."""
    matrix = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
    y, i, q = np.moveaxis(pixels @ matrix.T, -1, 0)
    turned = (i + 1j * q) * np.exp(1j * angle)
    return np.linalg.solve(matrix, np.stack([y, turned.real, turned.imag]).reshape(3, -1)).T.reshape(pixels.shape)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"flip": 1.5}, "less than or equal to 1"),
        ({"crop_scale": (0.0, 1.0)}, "0 < least <= greatest <= 1"),
        ({"crop_scale": (0.9, 0.5)}, "0 < least <= greatest <= 1"),
        ({"crop_aspect": (2.0, 1.0)}, "0.1 <= least <= greatest <= 10"),
        ({"hue": 0.6}, "less than or equal to 0.5"),
        ({"rotate": 10}, "Extra inputs are not permitted"),
    ],
)
def test_wrong_configurations(options: dict, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Augmentation(**options)


def test_null_is_off_and_the_configuration_survives_json() -> None:
    augmentation = Augmentation(hue=None, brightness=None, flip=False)
    assert (augmentation.hue, augmentation.brightness, augmentation.flip) == (0.0, 0.0, 0.0)
    assert Augmentation.model_validate(augmentation.model_dump(mode="json")) == augmentation
