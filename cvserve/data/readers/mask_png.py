"""Reads mask files: PNG whose samples, palette indices or colours are the class of each pixel."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

from cvserve.data.masks import VOID
from cvserve.data.readers.mask_classes import ClassTable
from cvserve.errors import ImageError, InvalidInput
from cvserve.preproc import MAX_PIXELS, ImageHeader, read_header
from cvserve.preproc.exif import upright
from cvserve.preproc.header import png_chunks
from cvserve.preproc.source import read_file

_GRAY, _PALETTE = 0, 3


def read_mask(
    path: Path, table: ClassTable, image: ImageHeader | None = None, *, name: str | None = None
) -> np.ndarray:
    """Reads the labels of a mask file.

    A gray or palette PNG holds values (its palette is only for display); an RGB one holds the colours of the table, or,
    where the table has none, values that are the same in all three channels.

    Args:
        image: the header of the image that the mask belongs to. A mask has the size of the upright image; if the image
            is stored on its side (EXIF), the mask may have the stored size instead, and is turned as the image is.
            None takes any size.
        name: the name of the mask in errors, by default its path.

    Returns:
        uint8 [H, W]: indices into `table.classes`, or `VOID`.

    Raises:
        ImageError: it is missing, damaged, no PNG, or of another size than the image.
        InvalidInput: a value or colour that the table does not have.
    """
    name = name or str(path)
    data = read_file(path, name)
    header = _check(data, name, image)
    values = _samples(data, header, name)
    labels = _labels(values, table, name)
    if image is not None and header.size != image.size:
        return np.ascontiguousarray(upright(labels, image.orientation))
    return np.ascontiguousarray(upright(labels, header.orientation))


def check_mask(path: Path, image: ImageHeader, *, name: str | None = None) -> None:
    """Raises ImageError for a mask whose header shows that `read_mask` would refuse it."""
    name = name or str(path)
    _check(read_file(path, name), name, image)


def _check(data: bytes, name: str, image: ImageHeader | None) -> ImageHeader:
    header = read_header(data, name=name)
    if header.format != "PNG":
        raise ImageError(name, f"is a {header.format}; masks must be PNG, which keeps labels as they are")
    if header.width * header.height > MAX_PIXELS:
        raise ImageError(name, f"has {header.width} x {header.height} pixels, more than the {MAX_PIXELS:,} allowed")
    if image is not None and header.size not in (image.size, (image.width, image.height)):
        raise ImageError(
            name,
            f"is {header.size[0]} x {header.size[1]} pixels, its image {image.size[0]} x {image.size[1]}",
        )
    return header


def _samples(data: bytes, header: ImageHeader, name: str) -> np.ndarray:
    """Returns the samples as they are stored: [H, W] of gray and palette files, [H, W, 3] (RGB) of others."""
    if data[25] in (_GRAY, _PALETTE):
        data = _as_gray(data)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ImageError(name, f"is a PNG that cannot be decoded ({' '.join(error.err.split())})") from None
    if image is None or image.shape[:2] != (header.height, header.width):
        raise ImageError(name, "is a damaged or truncated PNG")
    if image.ndim == 3:
        # Gray with alpha comes with three equal colours.
        return image[:, :, 2::-1]
    if header.bits < 8:
        # OpenCV stretches few bits to the whole range.
        image = image // (255 // (2**header.bits - 1))
    return np.asarray(image)


def _as_gray(data: bytes) -> bytes:
    """Converts a gray or palette PNG to a gray one with the same samples and nothing else.

    OpenCV would replace indices by the palette's colours, and turn transparency into a channel.
    """
    chunks = [data[start:end] for kind, start, end in png_chunks(data) if kind in (b"IDAT", b"IEND")]
    start = b"IHDR" + data[16:25] + bytes([_GRAY]) + data[26:29]
    return data[:8] + struct.pack(">I", 13) + start + struct.pack(">I", zlib.crc32(start)) + b"".join(chunks)


def _labels(values: np.ndarray, table: ClassTable, name: str) -> np.ndarray:
    if values.ndim == 3:
        if table.by_color:
            return _by_color(values, table, name)
        if not (values == values[:, :, :1]).all():
            raise InvalidInput(
                f"{name} is a mask of colours, but {table.origin} has no colours; write them there, as in "
                "'Sky 128 128 128'"
            )
        values = values[:, :, 0]
    known = table.by_value
    lookup = np.zeros(2 ** (8 * values.dtype.itemsize), np.uint8)
    valid = np.zeros(len(lookup), bool)
    lookup[list(known)], valid[list(known)] = list(known.values()), True
    wrong = ~valid[values]
    if wrong.any():
        row, column = np.argwhere(wrong)[0].tolist()
        last = max(value for value in known if value != VOID)
        raise InvalidInput(
            f"{name}: the pixel at x={column}, y={row} has the value {values[row, column]}, which no class of "
            f"{table.origin} has; its {len(table.entries)} entries go up to {last}, and 255 is void"
        )
    return np.asarray(lookup[values])


def _by_color(values: np.ndarray, table: ClassTable, name: str) -> np.ndarray:
    packed = (values.astype(np.int64) * (1 << 32, 1 << 16, 1)).sum(axis=2)
    known = {red << 32 | green << 16 | blue: label for (red, green, blue), label in table.by_color.items()}
    colors = np.array(sorted(known), np.int64)
    indices = np.minimum(np.searchsorted(colors, packed), len(colors) - 1)
    wrong = colors[indices] != packed
    if wrong.any():
        row, column = np.argwhere(wrong)[0].tolist()
        raise InvalidInput(
            f"{name}: the pixel at x={column}, y={row} has the colour {tuple(values[row, column].tolist())}, which no "
            f"class of {table.origin} has"
        )
    labels = np.array([known[color] for color in colors.tolist()], np.uint8)
    return np.asarray(labels[indices])
