"""Decodes images, files and arrays into upright uint8 RGB."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from cvserve.artifact import PreprocSpec
from cvserve.errors import ImageError
from cvserve.preproc.exif import upright
from cvserve.preproc.geometry import Geometry, place, plan, reduction, resize, shrink_reduced
from cvserve.preproc.header import ImageHeader, png_chunks, read_header
from cvserve.preproc.source import ImageSource, from_array, read_file

# As Pillow's MAX_IMAGE_PIXELS: 256 MiB of RGB.
MAX_PIXELS = 89_000_000

# With IMREAD_COLOR_RGB these flags mean "a half", ...; the gray in their names is the absence of IMREAD_COLOR_BGR.
_REDUCED = {
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}

# OpenCV's readers print a line for each damaged image beside failing, and failing is what becomes an ImageError
# here; a server would fill its log with them. (libjpeg's and libpng's own lines cannot be turned off from Python.)
if "OPENCV_LOG_LEVEL" not in os.environ:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_FATAL)


def decode(
    source: ImageSource,
    *,
    name: str | None = None,
    max_pixels: int = MAX_PIXELS,
    reduce_for: PreprocSpec | None = None,
) -> np.ndarray:
    """Decodes one image, upright.

    Files and bytes may be JPEG, PNG, WebP, BMP, TIFF or GIF. EXIF orientation is applied. Of an animation the first
    frame counts, of an animated PNG its still image, of a TIFF its first page. Gray and palette images become
    RGB; CMYK is converted without a colour profile; 16 bits become 8 (PNG: round(value / 257), TIFF: within one level
    of that); alpha is dropped, so that what lies under transparent pixels shows, as in Pillow's convert("RGB");
    colour profiles are ignored.

    An image that ends early is an error, never a half gray image. Bytes after an image's end are ignored. Wrong
    bytes in the middle are found as far as the format has checksums or codes that cannot be (a JPEG may merely look
    wrong).

    Thread-safe, and the interpreter lock is not held while decoding.

    Args:
        source: a path, encoded bytes, or a uint8 array [H, W], [H, W, 1], [H, W, 3] (RGB) or [H, W, 4] (RGBA).
            An array [H, W, 3] is passed through as it is, not copied.
        name: what errors call it; by default the path, or "image".
        max_pixels: encoded images with more are refused before they are decoded.
        reduce_for: a JPEG that this spec shrinks anyway may come out at 1/2, 1/4 or 1/8 of its size.

    Returns:
        uint8 RGB [H, W, 3], C-contiguous.

    Raises:
        ImageError: no such file, not an image of these formats, too large, truncated or damaged.
    """
    if isinstance(source, np.ndarray):
        return from_array(source, name or "image")
    data, name = _encoded(source, name)
    header = _allowed(data, name, max_pixels)
    factor = _factor(header, reduce_for) if reduce_for else 1
    image = _stored(data, header, factor, name)
    return np.ascontiguousarray(upright(image, _left_to_do(header)))


def preprocess(
    source: ImageSource, spec: PreprocSpec, *, name: str | None = None, max_pixels: int = MAX_PIXELS
) -> tuple[np.ndarray, Geometry]:
    """Returns the pixels that the graph sees. Training, evaluation, batch and server all call this.

    A JPEG that the spec shrinks by 4 or more is decoded at 1/2, 1/4 or 1/8 of its size (for a photo of 12 megapixels
    a third of the time), which differs from the full way by about a level; the geometry is the same.

    Args:
        source, name, max_pixels: as for `decode`.

    Returns:
        uint8 RGB [spec.height, spec.width, 3], C-contiguous, and how it maps to the upright original.

    Raises:
        ImageError: as for `decode`.
    """
    if isinstance(source, np.ndarray):
        return resize(from_array(source, name or "image"), spec)
    data, name = _encoded(source, name)
    header = _allowed(data, name, max_pixels)
    factor = _factor(header, spec)
    image = _stored(data, header, factor, name)
    orientation = _left_to_do(header)
    if factor == 1:
        return resize(upright(image, orientation), spec)
    width, height = header.size
    steps = plan(width, height, spec)
    swapped = orientation >= 5
    # Resized as it is stored: a reduced image may have a part of a pixel too much, and that stands at the stored
    # right and bottom. Turning the small result is also cheaper.
    image = shrink_reduced(
        image,
        factor,
        (header.width, header.height),
        (steps.height, steps.width) if swapped else (steps.width, steps.height),
    )
    return place(upright(image, orientation), steps, spec), steps.geometry(width, height)


def _encoded(source: str | Path | bytes, name: str | None) -> tuple[bytes, str]:
    if isinstance(source, str | Path):
        name = name or str(source)
        return read_file(source, name), name
    if isinstance(source, bytes):
        return source, name or "image"
    raise ImageError(name or "image", f"is {type(source).__name__}, where a path, bytes or a uint8 array is needed")


def _allowed(data: bytes, name: str, max_pixels: int) -> ImageHeader:
    """Returns the header of an image that may be decoded."""
    header = read_header(data, name=name)
    if header.width * header.height > max_pixels:
        raise ImageError(
            name, f"has {header.width} x {header.height} pixels, more than the {max_pixels:,} that are allowed"
        )
    most_bits = 8 if header.format == "JPEG" else 16
    if header.bits > most_bits or header.sample_format != "unsigned":
        raise ImageError(
            name,
            f"is a {header.format} of {header.bits}-bit {header.sample_format} samples, where unsigned samples of at "
            f"most {most_bits} bits are needed",
        )
    return header


def _factor(header: ImageHeader, spec: PreprocSpec) -> int:
    return reduction(*header.size, spec) if header.format == "JPEG" else 1


def _left_to_do(header: ImageHeader) -> int:
    """Returns the orientation to apply after cv2, whose TIFF reader has always applied it."""
    return 1 if header.format == "TIFF" else header.orientation


def _stored(data: bytes, header: ImageHeader, factor: int, name: str) -> np.ndarray:
    """Returns uint8 RGB [H, W, 3] at 1 / factor of the size (rounded up), as stored (but a TIFF upright)."""
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION | _REDUCED[factor]
    if header.format == "PNG" and header.bits == 16:
        # Only for PNG: OpenCV 5.0 takes 16-bit TIFF's RGB for BGR and its white for black with this flag.
        flags |= cv2.IMREAD_ANYDEPTH
    if header.animated:
        data = _without_animation(data)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ImageError(name, f"is a {header.format} that cannot be decoded ({' '.join(error.err.split())})") from None
    if image is None:
        raise ImageError(name, f"is a damaged or truncated {header.format}, or of a rare kind that cannot be decoded")
    if image.dtype == np.uint16:
        # Exactly round(value / 257): no value is near enough to a half for float32 to matter.
        image = cv2.convertScaleAbs(image, alpha=1 / 257)
    width, height = header.size if header.format == "TIFF" else (header.width, header.height)
    if image.dtype != np.uint8 or image.shape != (-(-height // factor), -(-width // factor), 3):
        raise ImageError(
            name, f"is a damaged {header.format}: its header says {width} x {height} pixels, its data differs"
        )
    return image


def _without_animation(png: bytes) -> bytes:
    """Returns an animated PNG as the still image that other readers see (PNG 3rd edition, 4.9)."""
    animation = (b"acTL", b"fcTL", b"fdAT")
    return png[:8] + b"".join(png[start:end] for kind, start, end in png_chunks(png) if kind not in animation)
