"""One image to the graph's pixels: the reduced decoding, and that every caller sees the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from image_files import exif_block, jpeg_with_exif

from cvserve.artifact import PreprocSpec
from cvserve.errors import ImageError
from cvserve.preproc import decode, preprocess, resize


def jpeg(width: int, height: int) -> bytes:
    """A sharp but smooth image: blocks of 40 pixels, full contrast, no chroma subsampling."""
    coarse = np.random.default_rng(0).integers(0, 256, (height // 40, width // 40, 3), np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444, cv2.IMWRITE_JPEG_QUALITY, 97]
    return cv2.imencode(".jpg", image[..., ::-1], options)[1].tobytes()


LARGE = jpeg(1603, 1201)


@pytest.fixture
def opencv_threads() -> Iterator[None]:
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


@pytest.mark.parametrize(("size", "factor"), [(70, 8), (90, 4), (150, 4), (224, 2), (301, 1), (512, 1)])
def test_a_large_jpeg_is_reduced_while_decoding_as_far_as_the_spec_allows(size: int, factor: int) -> None:
    spec = PreprocSpec(height=size, width=size)
    assert decode(LARGE, reduce_for=spec).shape == (-(-1201 // factor), -(-1603 // factor), 3)
    assert decode(LARGE).shape == (1201, 1603, 3)


@pytest.mark.parametrize("rule", ["exact", "short_side", "letterbox"])
@pytest.mark.parametrize(("size", "mean", "most"), [(70, 1.5, 8), (150, 0.6, 3), (224, 0.4, 3), (512, 0, 0)])
def test_reduced_decoding_gives_nearly_the_same_pixels_and_exactly_the_same_geometry(
    rule: str, size: int, mean: float, most: int
) -> None:
    # Tolerances in levels of 255; sampling 201 pixels as if they were 1603 / 8 would differ by 8.7 on the mean.
    spec = PreprocSpec(height=size, width=size, resize=rule)  # type: ignore[arg-type]
    pixels, geometry = preprocess(LARGE, spec)
    expected, expected_geometry = resize(decode(LARGE), spec)
    assert geometry == expected_geometry
    difference = np.abs(pixels.astype(int) - expected)
    assert difference.mean() <= mean
    assert difference.max() <= most


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [90, 512])
def test_reduced_decoding_of_turned_images(orientation: int, size: int) -> None:
    data = jpeg_with_exif(LARGE, exif_block(orientation))
    spec = PreprocSpec(height=size, width=size // 2, resize="short_side")
    pixels, geometry = preprocess(data, spec)
    full = decode(data)
    expected, expected_geometry = resize(full, spec)
    assert geometry == expected_geometry
    assert (geometry.original_height, geometry.original_width) == full.shape[:2]
    assert pixels.shape == (size, size // 2, 3)
    assert pixels.flags.c_contiguous
    assert np.abs(pixels.astype(int) - expected).mean() <= (1.5 if size == 90 else 0)


def test_small_and_other_images_are_resized_from_their_pixels() -> None:
    spec = PreprocSpec(height=32, width=48, short_side=40)
    image = np.random.default_rng(1).integers(0, 256, (300, 400, 3), np.uint8)
    expected, geometry = resize(image, spec)
    for source in (image, cv2.imencode(".png", image[..., ::-1])[1].tobytes()):
        pixels, its_geometry = preprocess(source, spec)
        assert np.array_equal(pixels, expected)
        assert its_geometry == geometry


@pytest.mark.usefixtures("opencv_threads")
def test_path_bytes_threads_and_repetition_change_no_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(LARGE)
    for spec in (PreprocSpec(height=224, width=224, short_side=256), PreprocSpec(height=2000, width=1500)):
        expected = preprocess(LARGE, spec)[0]
        assert np.array_equal(preprocess(path, spec)[0], expected)
        with ThreadPoolExecutor(4) as pool:
            for pixels, _ in pool.map(lambda source: preprocess(source, spec), [LARGE, str(path)] * 4):  # noqa: B023
                assert np.array_equal(pixels, expected)
        for threads in (1, 3):
            cv2.setNumThreads(threads)
            assert np.array_equal(preprocess(LARGE, spec)[0], expected)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (2, 3)])
@pytest.mark.parametrize("rule", ["exact", "short_side", "letterbox"])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_tiny_and_extreme_images(size: tuple[int, int], rule: str, suffix: str) -> None:
    data = cv2.imencode(suffix, np.full((*size, 3), 77, np.uint8))[1].tobytes()
    spec = PreprocSpec(height=224, width=224, resize=rule, fill=(0, 0, 0))  # type: ignore[arg-type]
    pixels, _ = preprocess(data, spec)
    assert pixels.shape == (224, 224, 3)
    values = set(np.unique(pixels))
    assert values <= {0, 77} if rule == "letterbox" else values == {77}


def test_errors_carry_the_name_and_the_limit() -> None:
    spec = PreprocSpec(height=32, width=32)
    with pytest.raises(ImageError, match=r"^request image 3: has 1603 x 1201 pixels, more than the 1,000,000"):
        preprocess(LARGE, spec, name="request image 3", max_pixels=1_000_000)
    with pytest.raises(ImageError, match=r"^request image 3: is an array of float32"):
        preprocess(np.zeros((3, 3), np.float32), spec, name="request image 3")
