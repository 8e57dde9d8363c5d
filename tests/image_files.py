"""Images that cv2 and Pillow do not write, as bytes."""

from __future__ import annotations

import struct
import zlib

import numpy as np


def tiff(
    samples: np.ndarray,
    *,
    bits: int,
    photometric: int,
    orientation: int = 1,
    sample_format: int = 1,
    palette: np.ndarray | None = None,
    order: str = "<",
) -> bytes:
    """An uncompressed TIFF 6.0 of one strip.

    Args:
        samples: [H, W, C] of unsigned values below 2 ** bits (or the raw bits of signed and float samples).
        photometric: 0 white is zero, 1 black is zero, 2 RGB, 3 palette, 5 CMYK.
        palette: uint16 [3, 2 ** bits].
    """
    height, width, channels = samples.shape
    if bits in (8, 16, 32):
        strip = samples.astype(f"{order}u{bits // 8}").tobytes()
    else:
        rows = samples.reshape(height, width * channels)
        digits = (rows[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1
        strip = np.packbits(digits.reshape(height, -1).astype(np.uint8), axis=1).tobytes()
    entries: list[tuple[int, int, list[int]]] = [
        (256, 4, [width]),
        (257, 4, [height]),
        (258, 3, [bits] * channels),
        (259, 3, [1]),
        (262, 3, [photometric]),
        (273, 4, [0]),
        (274, 3, [orientation]),
        (277, 3, [channels]),
        (278, 4, [height]),
        (279, 4, [len(strip)]),
        (339, 3, [sample_format] * channels),
    ]
    if palette is not None:
        entries.append((320, 3, [int(value) for value in palette.reshape(-1)]))
    entries.sort()
    after = 8 + 2 + 12 * len(entries) + 4
    extra = b""
    values: dict[int, bytes] = {}
    for tag, kind, numbers in entries:
        packed = struct.pack(f"{order}{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        if len(packed) > 4:
            values[tag] = struct.pack(order + "I", after + len(extra))
            extra += packed
        else:
            values[tag] = packed.ljust(4, b"\0")
    values[273] = struct.pack(order + "I", after + len(extra))
    directory = struct.pack(order + "H", len(entries))
    for tag, kind, numbers in entries:
        directory += struct.pack(order + "HHI", tag, kind, len(numbers)) + values[tag]
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return start + directory + struct.pack(order + "I", 0) + extra + strip


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with(data: bytes, *chunks: bytes, before: bytes = b"IDAT") -> bytes:
    """A PNG with chunks put in before the first chunk of kind `before`."""
    at = data.index(before) - 4
    return data[:at] + b"".join(chunks) + data[at:]


def exif_block(orientation: int, order: str = "<", kind: int = 3) -> bytes:
    """An EXIF block (from its TIFF header on) with the orientation tag, as SHORT (3) or LONG (4)."""
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, 1)
    value = struct.pack(order + ("HH" if kind == 3 else "I"), *([orientation, 0] if kind == 3 else [orientation]))
    return start + struct.pack(order + "HHI", 0x0112, kind, 1) + value + struct.pack(order + "I", 0)


def jpeg_with_exif(data: bytes, exif: bytes) -> bytes:
    """A JPEG with an EXIF segment after its start."""
    body = b"Exif\0\0" + exif
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]
