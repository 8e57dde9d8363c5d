"""Reads the EXIF orientation, and turns images upright."""

from __future__ import annotations

import struct
import zlib

import numpy as np

_ORIENTATION = 0x0112
# Bytes of a raw profile that are decompressed at most; real ones have from a few hundred to some ten thousand.
_MOST_PROFILE_BYTES = 1 << 18


def orientation_of_exif(exif: bytes) -> int:
    """Returns the orientation tag (EXIF 2.32, 4.6.4 A) of the first directory; 1 where it is absent or not 1 to 8.

    Args:
        exif: an EXIF block that starts with its TIFF header ("II*" or "MM*").
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (position,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, position)
        for index in range(count):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", exif, position + 2 + 12 * index)
            if tag == _ORIENTATION:
                # Always a SHORT; some writers use a LONG, whose low half stands last in big-endian order.
                if kind == 4 and order == ">":
                    (value,) = struct.unpack_from(">H", exif, position + 2 + 12 * index + 10)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1


def orientation_of_raw_profile(kind: bytes, body: bytes) -> int:
    """Returns the orientation in ImageMagick's PNG text chunk "Raw profile type exif" (or APP1), 0 of other chunks.

    Args:
        kind: b"tEXt" or b"zTXt". body: the chunk's data.
    """
    keyword, _, text = body.partition(b"\0")
    if keyword not in (b"Raw profile type exif", b"Raw profile type APP1"):
        return 0
    if kind == b"zTXt":
        try:
            text = zlib.decompressobj().decompress(text[1:], _MOST_PROFILE_BYTES)
        except zlib.error:
            return 0
    # A line with the name, a line with the length, then hexadecimal digits in lines.
    digits = b"".join(text.split()[2:])
    try:
        exif = bytes.fromhex(digits.decode("ascii"))
    except ValueError:
        return 0
    return orientation_of_exif(exif.removeprefix(b"Exif\0\0"))


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turns a stored image [H, W, ...] as its EXIF orientation (1 to 8) says; a view where that is enough."""
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return image
