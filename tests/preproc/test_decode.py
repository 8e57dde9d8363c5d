"""Encoded images to upright RGB, compared with Pillow and with pixels written down here."""

from __future__ import annotations

import io
import subprocess
import sys

import cv2
import numpy as np
import pytest
from image_files import exif_block, jpeg_with_exif, png_chunk, png_with, tiff
from PIL import Image

from cvserve.errors import ImageError
from cvserve.preproc import decode, read_header


def smooth(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


IMAGE = smooth()


def encoded(kind: str, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(IMAGE).convert(mode).save(file, kind, **options)  # type: ignore[arg-type]
    return file.getvalue()


def pillow(data: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(data)).convert("RGB"))


LOSSLESS = {
    "png": encoded("PNG"),
    "png interlaced": cv2.imencode(".png", IMAGE[..., ::-1], [cv2.IMWRITE_PNG_STRATEGY, 1])[1].tobytes(),
    "webp lossless": encoded("WEBP", lossless=True),
    "bmp": encoded("BMP"),
    "tiff": encoded("TIFF"),
    "tiff lzw": encoded("TIFF", compression="tiff_lzw"),
    "tiff deflate": encoded("TIFF", compression="tiff_adobe_deflate"),
    "tiff packbits": encoded("TIFF", compression="packbits"),
    "png rgba": encoded("PNG", "RGBA"),
    "bmp rgba": encoded("BMP", "RGBA"),
    "tiff rgba": encoded("TIFF", "RGBA"),
}
OTHERS = {
    "jpeg": encoded("JPEG", quality=80),
    "jpeg 4:2:0": encoded("JPEG", subsampling=2),
    "jpeg progressive": encoded("JPEG", progressive=True),
    "jpeg gray": encoded("JPEG", "L"),
    "png gray": encoded("PNG", "L"),
    "png one bit": encoded("PNG", "1"),
    "png palette": encoded("PNG", "P"),
    "png gray alpha": encoded("PNG", "LA"),
    "png palette, one transparent": encoded("PNG", "P", transparency=3),
    "webp": encoded("WEBP"),
    "webp animated": encoded("WEBP", save_all=True, append_images=[Image.new("RGB", (64, 48))], lossless=True),
    "bmp palette": encoded("BMP", "P"),
    "bmp one bit": encoded("BMP", "1"),
    "tiff gray": encoded("TIFF", "L"),
    "tiff palette": encoded("TIFF", "P"),
    "tiff one bit": encoded("TIFF", "1", compression="group4"),
    "tiff jpeg": encoded("TIFF", compression="jpeg"),
    "tiff cmyk": encoded("TIFF", "CMYK"),
    "gif": encoded("GIF", "P"),
    "gif animated": encoded("GIF", "P", save_all=True, append_images=[Image.new("P", (64, 48))]),
    "gif transparent": encoded("GIF", "P", transparency=5),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_images_come_back_exactly(name: str) -> None:
    assert np.array_equal(decode(LOSSLESS[name]), IMAGE)


@pytest.mark.parametrize("name", OTHERS)
def test_the_same_pixels_as_pillow(name: str) -> None:
    image = decode(OTHERS[name])
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    # Both use the same codecs; one level is left for another build of libjpeg or libwebp.
    assert np.abs(image.astype(int) - pillow(OTHERS[name])).max() <= 1


def test_cmyk_jpeg_as_pillow_converts_it() -> None:
    data = encoded("JPEG", "CMYK", quality=95)
    # OpenCV rounds the product of two 8-bit values otherwise: two levels.
    assert np.abs(decode(data).astype(int) - pillow(data)).max() <= 2


def test_alpha_is_dropped_and_what_lies_under_it_shows() -> None:
    pixels = np.dstack([IMAGE, np.zeros(IMAGE.shape[:2], np.uint8)])
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    assert np.array_equal(decode(file.getvalue()), IMAGE)
    assert np.array_equal(decode(pixels), IMAGE)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bit_png_is_scaled_by_257_and_rounded(channels: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 65536, (256, 256, channels), np.uint16)
    pixels[..., 0] = np.arange(65536).reshape(256, 256)
    data = cv2.imencode(".png", pixels[..., [2, 1, 0, 3][:channels]] if channels > 1 else pixels)[1].tobytes()
    expected = np.rint(pixels[..., :3] / 257).astype(np.uint8)
    assert np.array_equal(decode(data), np.broadcast_to(expected, (256, 256, 3)))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("channels", "photometric"), [(3, 2), (4, 2), (1, 1), (1, 0)])
def test_16_bit_tiff_within_a_level(channels: int, photometric: int, order: str) -> None:
    samples = np.random.default_rng(2).integers(0, 65536, (9, 7, channels))
    values = np.broadcast_to(samples[..., :3] / 257, (9, 7, 3))
    image = decode(tiff(samples, bits=16, photometric=photometric, order=order))
    assert np.abs(image - (255 - values if photometric == 0 else values)).max() <= 1


def test_palette_and_inverted_tiff() -> None:
    samples = np.random.default_rng(3).integers(0, 256, (9, 7, 1))
    palette = np.random.default_rng(4).integers(0, 256, (3, 256)) * 257
    assert np.array_equal(
        decode(tiff(samples, bits=8, photometric=3, palette=palette)), palette.T[samples[..., 0]] // 257
    )
    assert np.array_equal(decode(tiff(samples, bits=8, photometric=0))[..., 1], 255 - samples[..., 0])


# EXIF 2.32, 4.6.4 A: which side of the upright image the stored row 0 and column 0 are.
SIDES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def stored_as(upright: np.ndarray, orientation: int) -> np.ndarray:
    """The rows and columns that a camera would store for this upright image: the definition, pixel by pixel."""
    height, width = upright.shape[:2]
    rows, columns = (width, height) if orientation >= 5 else (height, width)
    stored = np.empty((rows, columns, 3), np.uint8)
    for row in range(rows):
        for column in range(columns):
            at = {}
            for side, step in zip(SIDES[orientation], (row, column), strict=True):
                if side in ("top", "bottom"):
                    at["y"] = step if side == "top" else height - 1 - step
                else:
                    at["x"] = step if side == "left" else width - 1 - step
            stored[row, column] = upright[at["y"], at["x"]]
    return stored


@pytest.mark.parametrize("orientation", SIDES)
def test_orientation_is_applied_in_every_format_that_has_one(orientation: int) -> None:
    upright = np.random.default_rng(5).integers(0, 256, (5, 7, 3), np.uint8)
    stored = stored_as(upright, orientation)
    exif = exif_block(orientation)
    file = io.BytesIO()
    Image.fromarray(stored).save(file, "WEBP", lossless=True, exif=exif)
    png = cv2.imencode(".png", stored[..., ::-1])[1].tobytes()
    images = {
        "WebP": file.getvalue(),
        "PNG": png_with(png, png_chunk(b"eXIf", exif)),
        "TIFF": tiff(stored, bits=8, photometric=2, orientation=orientation),
        "TIFF of 16 bits": tiff(stored.astype(int) * 257, bits=16, photometric=2, orientation=orientation),
    }
    for name, data in images.items():
        assert np.array_equal(decode(data), upright), name
        assert read_header(data).size == (7, 5), name
    jpeg = cv2.imencode(".jpg", stored[..., ::-1])[1].tobytes()
    turned = decode(jpeg_with_exif(jpeg, exif))
    assert np.array_equal(stored_as(turned, orientation), decode(jpeg))


def test_an_animated_png_is_its_still_image() -> None:
    still, first, second = (Image.new("RGB", (4, 3), color) for color in ("red", "green", "blue"))
    file = io.BytesIO()
    still.save(file, "PNG", save_all=True, append_images=[first, second], default_image=True)
    assert (decode(file.getvalue()) == (255, 0, 0)).all()
    file = io.BytesIO()
    first.save(file, "PNG", save_all=True, append_images=[second])
    assert (decode(file.getvalue()) == (0, 128, 0)).all()


def test_arrays() -> None:
    assert decode(IMAGE) is IMAGE
    gray = IMAGE[..., 0]
    assert np.array_equal(decode(gray), np.stack([gray] * 3, axis=-1))
    assert np.array_equal(decode(gray[..., None]), decode(gray))
    assert np.array_equal(decode(IMAGE[::2, ::-3]), IMAGE[::2, ::-3])


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (IMAGE.astype(np.float32), "array of float32"),
        (IMAGE.astype(np.int8), "array of int8"),
        (IMAGE[None], r"shape \[1, 48, 64, 3\]"),
        (IMAGE[..., :2], r"shape \[48, 64, 2\]"),
        (IMAGE[:0], r"shape \[0, 64, 3\]"),
        (IMAGE[0, 0], r"shape \[3\]"),
    ],
)
def test_other_arrays_are_errors(array: np.ndarray, reason: str) -> None:
    with pytest.raises(ImageError, match=f"^request image 2: is an array of {reason}|{reason}"):
        decode(array, name="request image 2")


def test_other_things_are_errors() -> None:
    with pytest.raises(ImageError, match="image: is NoneType, where a path, bytes or a uint8 array is needed"):
        decode(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (encoded("TIFF", "F"), "TIFF of 32-bit float samples"),
        (encoded("TIFF", "I"), "TIFF of 32-bit signed samples"),
        (tiff(np.zeros((5, 7, 3), int), bits=8, photometric=2, sample_format=2), "TIFF of 8-bit signed samples"),
        (encoded("JPEG").replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"), "JPEG of 12-bit unsigned samples"),
    ],
)
def test_samples_that_are_no_pixels_are_errors(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=f"is a {reason}"):
        decode(data)


def test_the_limit_of_pixels_is_exact_and_comes_before_decoding() -> None:
    data = encoded("PNG")
    assert decode(data, max_pixels=64 * 48).shape == (48, 64, 3)
    with pytest.raises(ImageError, match=r"^image: has 64 x 48 pixels, more than the 3,071 that are allowed$"):
        decode(data, max_pixels=64 * 48 - 1)
    header_only = png_with(data[:33] + png_chunk(b"IEND", b""), before=b"IEND")
    with pytest.raises(ImageError, match="more than the 3,071 that are allowed"):
        decode(header_only, max_pixels=64 * 48 - 1)


def test_opencvs_own_warnings_are_quiet() -> None:
    code = (
        "import sys; from cvserve.preproc import decode\nfrom cvserve.errors import ImageError\n"
        "try: decode(sys.stdin.buffer.read())\nexcept ImageError as error: print(error)"
    )
    # RGB of two bits: OpenCV's reader refuses it with a warning.
    data = tiff(np.zeros((5, 7, 3), int), bits=2, photometric=2)
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True, timeout=60)
    assert done.stdout.startswith(b"image: is a damaged or truncated TIFF")
    assert b"WARN" not in done.stderr
    assert b"ERROR" not in done.stderr
