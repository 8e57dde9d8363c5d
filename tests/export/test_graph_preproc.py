"""The SavedModel's own decoding and resizing against the OpenCV path."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from small_network import encode, make_images

from cvserve.artifact import PreprocSpec
from cvserve.errors import ImageError
from cvserve.export.graph_preproc import load_pixels
from cvserve.preproc import preprocess, read_header

SPECS = (
    PreprocSpec(height=24, width=32, short_side=40),
    PreprocSpec(height=50, width=20),
    PreprocSpec(height=30, width=45, resize="exact"),
    PreprocSpec(height=64, width=48, resize="letterbox", fill=(1, 20, 255)),
    PreprocSpec(height=200, width=190, resize="letterbox", interpolation="cubic"),
    PreprocSpec(height=160, width=200, resize="exact", interpolation="cubic"),
    PreprocSpec(height=96, width=96, resize="short_side", interpolation="nearest"),
)
SIZES = ((120, 90), (91, 133), (60, 80), (400, 700), (40, 20), (3, 300), (25, 33))


@functools.cache
def _loader(spec: PreprocSpec) -> Any:
    tf = pytest.importorskip("tensorflow")
    return tf.function(lambda data: load_pixels(data, spec), [tf.TensorSpec((), tf.string)], autograph=False)


def _difference(load: Any, data: bytes, spec: PreprocSpec) -> int:
    pixels, _ = preprocess(data, spec)
    got = load(data).numpy()
    assert got.dtype == np.uint8
    assert got.shape == pixels.shape
    return int(np.abs(got.astype(int) - pixels).max())


def _oriented(image: np.ndarray, orientation: int, order: str = "little") -> bytes:
    """A JPEG with a comment and an EXIF segment."""
    entry = (0x0112).to_bytes(2, order) + (3).to_bytes(2, order) + (1).to_bytes(4, order)
    entry += orientation.to_bytes(2, order) + b"\0\0"
    other = (0x0100).to_bytes(2, order) + (4).to_bytes(2, order) + (1).to_bytes(4, order) + (7).to_bytes(4, order)
    header = (b"II*\0" if order == "little" else b"MM\0*") + (8).to_bytes(4, order)
    exif = b"Exif\0\0" + header + (2).to_bytes(2, order) + other + entry + (0).to_bytes(4, order)
    comment = b"\xff\xfe" + (8).to_bytes(2, "big") + b"Exif\0\0"
    plain = encode(image)
    return plain[:2] + comment + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + plain[2:]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.resize}-{spec.interpolation}-{spec.height}")
def test_jpegs_of_all_sizes_differ_by_a_rounding_at_most(spec: PreprocSpec) -> None:
    load = _loader(spec)
    for height, width in SIZES:
        data = encode(make_images(1, height, width, seed=height)[0])
        assert _difference(load, data, spec) <= 1, f"{height} x {width}"


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp"])
def test_other_formats(suffix: str) -> None:
    spec = SPECS[0]
    load = _loader(spec)
    image = make_images(1, 90, 70)[0]
    assert _difference(load, encode(image, suffix), spec) <= 1
    gray = cv2.imencode(suffix, image[..., 0])[1].tobytes()
    assert _difference(load, gray, spec) <= 1
    if suffix != ".bmp":
        alpha = cv2.cvtColor(image, cv2.COLOR_RGB2BGRA)
        alpha[:40, :, 3] = 100
        assert _difference(load, cv2.imencode(suffix, alpha)[1].tobytes(), spec) <= 1


@pytest.mark.parametrize("size", [(50, 70), (600, 430)], ids=["whole", "reduced"])
def test_exif_orientation_of_jpegs(size: tuple[int, int]) -> None:
    spec = PreprocSpec(height=40, width=36)
    load = _loader(spec)
    image = make_images(1, *size, seed=9)[0]
    for orientation in range(1, 9):
        for order in ("little", "big"):
            data = _oriented(image, orientation, order)
            assert read_header(data).orientation == orientation
            assert _difference(load, data, spec) <= 1, f"orientation {orientation}, {order}"
    assert _difference(load, _oriented(image, 9), spec) <= 1


def test_half_an_image_is_an_error_not_a_crash() -> None:
    tf = pytest.importorskip("tensorflow")
    load = _loader(SPECS[0])
    for data in (b"", b"\xff\xd8\xff", encode(make_images(1)[0])[:300], b"RIFF....WEBPVP8X", b"no image"):
        with pytest.raises(tf.errors.InvalidArgumentError):
            load(data)


@pytest.mark.slow
def test_real_images(shared: Path) -> None:
    """All JPEGs of the samples (EXIF, progressive, gray, reduced, CMYK to within 3)."""
    tf = pytest.importorskip("tensorflow")
    spec = PreprocSpec(height=64, width=64)
    load = _loader(spec)
    compared, refused = 0, []
    for path in sorted((shared / "data" / "sample_images").rglob("*.jp*g")):
        data = path.read_bytes()
        try:
            pixels, _ = preprocess(data, spec)
        except ImageError:
            continue
        try:
            got = load(data).numpy()
        except tf.errors.InvalidArgumentError:
            refused.append(path.name)  # TensorFlow is stricter with damaged files
            continue
        assert np.abs(got.astype(int) - pixels).max() <= 3, path.name
        compared += 1
    assert compared >= 20
    assert len(refused) <= 2
