"""Reads the headers of images: format, size, orientation and bit depth, before they are decoded.

Own small parsers, so that an image of four billion pixels is refused before a decoder allocates for it. They read
only the bytes that are there: no length inside the file is trusted.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from cvserve.errors import ImageError
from cvserve.preproc.exif import orientation_of_exif, orientation_of_raw_profile
from cvserve.preproc.unsupported import describe

FORMATS = ("JPEG", "PNG", "WebP", "BMP", "TIFF", "GIF")
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif"})
"""Suffixes of file names in these formats, in lower case."""

_TAKEN = ", ".join(FORMATS[:-1]) + " or " + FORMATS[-1]

SampleFormat = Literal["unsigned", "signed", "float", "complex"]
_SAMPLE_FORMATS: dict[int, SampleFormat] = {2: "signed", 3: "float", 5: "complex", 6: "complex"}

# An encoder makes some ten scans of a progressive JPEG; each costs a pass over the whole image, so that a file of
# a few megabytes with nothing but empty scans would keep a decoder busy for hours.
_MOST_SCANS = 100
# Limits for files with false counts or with nothing but empty chunks, which would keep the interpreter busy: far above
# what any encoder writes.
_MOST_SEGMENTS = 10_000
_MOST_CHUNKS = 100_000
_MOST_TIFF_TAGS = 4096

# A marker among entropy-coded data: not a stuffed zero, a restart (D0 to D7) or a fill byte (FF).
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")


@dataclass(frozen=True)
class ImageHeader:
    """Holds the header of an encoded image.

    format: one of FORMATS. width, height: pixels as stored, before `orientation` is applied. orientation: EXIF's
    1 to 8 (1: as it is; 5 to 8 swap width and height). bits: per sample; sample_format: other than unsigned only in
    TIFF. animated: an animated PNG.
    """

    format: str
    width: int
    height: int
    orientation: int = 1
    bits: int = 8
    sample_format: SampleFormat = "unsigned"
    animated: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Returns (width, height) of the upright image."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


class _Damaged(Exception):
    """Reports a header that cannot be read; the text is the reason."""


def read_header(data: bytes, *, name: str = "image") -> ImageHeader:
    """Reads format, size, orientation and bit depth; decodes nothing.

    Args:
        data: the whole encoded image (at least its header; a WebP's or PNG's orientation may stand at the end).
        name: what the error calls the image.

    Raises:
        ImageError: not one of FORMATS, or a header that is damaged or declares no pixels.
    """
    parser = _parser_of(data)
    if parser is None:
        raise ImageError(name, f"{describe(data)}; images must be {_TAKEN}")
    kind, parse = parser
    try:
        header = parse(data)
    except (struct.error, IndexError, OverflowError):
        raise ImageError(name, f"is a damaged {kind}: it ends too early") from None
    except _Damaged as error:
        raise ImageError(name, f"is a damaged {kind}: {error}") from None
    if header.width <= 0 or header.height <= 0:
        raise ImageError(name, f"is a damaged {kind}: it declares {header.width} x {header.height} pixels")
    return header


def _parser_of(data: bytes) -> tuple[str, Callable[[bytes], ImageHeader]] | None:
    if data[:2] == b"\xff\xd8":
        return "JPEG", _jpeg
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG", _png
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP", _webp
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF", _gif
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF", _tiff
    if data[:2] == b"BM":
        return "BMP", _bmp
    return None


def _jpeg(data: bytes) -> ImageHeader:
    """Reads a JPEG's segments up to the first scan (ITU-T T.81 annex B); the frame header (SOFn) has the size."""
    frame: tuple[int, int, int, int] | None = None
    orientation = 0
    progressive = False
    position = 2
    for _ in range(_MOST_SEGMENTS):
        # As libjpeg does, bytes between segments are passed over.
        position = data.find(b"\xff", position)
        if position < 0:
            raise _Damaged("it ends before its pixels begin")
        while data[position] == 0xFF:
            position += 1
        marker = data[position]
        position += 1
        if marker <= 0x01 or 0xD0 <= marker <= 0xD8:
            continue
        if marker == 0xD9:
            raise _Damaged("it ends before its pixels begin")
        (length,) = struct.unpack_from(">H", data, position)
        if length < 2:
            raise _Damaged(f"it has a segment of {length} bytes")
        if marker == 0xDA:
            break
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and frame is None:
            frame = struct.unpack_from(">BHHB", data, position + 2)
            progressive = marker in (0xC2, 0xC6, 0xCA, 0xCE)
        elif marker == 0xE1 and not orientation and data[position + 2 : position + 8] == b"Exif\0\0":
            orientation = orientation_of_exif(data[position + 8 : position + length])
        position += length
    else:
        raise _Damaged(f"it has more than {_MOST_SEGMENTS} segments")
    if frame is None:
        raise _Damaged("its pixels begin before its size")
    bits, height, width, components = frame
    # An unfinished download may have its full length, the rest being zeros, which decode to gray.
    if data.rfind(b"\xff\xd9", position) < 0:
        raise _Damaged("it ends before its end marker")
    # One scan of all components is decoded in one pass; only otherwise can there be more than that.
    if progressive or data[position + 2] < components:
        _check_scans(data, position)
    return ImageHeader("JPEG", width, height, orientation or 1, bits)


def _check_scans(data: bytes, position: int) -> None:
    """Refuses a JPEG with too many scans. position: after the first scan's marker."""
    scans = 1
    for _ in range(_MOST_SEGMENTS):
        found = _MARKER.search(data, position)
        if found is None:
            return
        marker = found[1][0]
        position = found.end()
        if marker == 0xD9:
            return
        if marker == 0xDA:
            scans += 1
            if scans > _MOST_SCANS:
                raise _Damaged(f"it has more than {_MOST_SCANS} scans")
        if marker != 0x01 and marker != 0xD8:
            position += int.from_bytes(data[position : position + 2], "big")
    raise _Damaged(f"it has more than {_MOST_SEGMENTS} segments")


def _png(data: bytes) -> ImageHeader:
    """Reads a PNG (third edition, section 5): IHDR, then the chunks that may hold EXIF, also those after the pixels."""
    if data[12:16] != b"IHDR":
        raise _Damaged("its first chunk is not IHDR")
    width, height, bits = struct.unpack_from(">IIB", data, 16)
    orientation = 0
    animated = False
    for kind, start, end in png_chunks(data):
        if kind == b"eXIf":
            orientation = orientation_of_exif(data[start + 8 : end - 4])
        elif kind in (b"tEXt", b"zTXt") and not orientation:
            orientation = orientation_of_raw_profile(kind, data[start + 8 : end - 4])
        elif kind == b"acTL":
            animated = True
    return ImageHeader("PNG", width, height, orientation or 1, bits, animated=animated)


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yields the chunks of a PNG up to IEND as (kind, start, end): the 4 bytes length, 4 kind, the body, 4 checksum.

    That each of them lies within the data is checked, since OpenCV allocates whatever length a chunk claims.
    """
    position = 8
    for _ in range(_MOST_CHUNKS):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise _Damaged(f"it ends inside a chunk of {length:,} bytes")
        yield kind, position, end
        if kind == b"IEND":
            return
        position = end
    raise _Damaged(f"it has more than {_MOST_CHUNKS:,} chunks")


def _webp(data: bytes) -> ImageHeader:
    """Reads a WebP (RFC 9649): VP8X's canvas, or the one image's own size; EXIF in a chunk of its own."""
    width = height = 0
    orientation = 1
    position = 12
    for _ in range(_MOST_CHUNKS):
        if position + 8 > len(data):
            break
        kind, length = struct.unpack_from("<4sI", data, position)
        body = position + 8
        if kind == b"VP8X" and not width:
            width = int.from_bytes(data[body + 4 : body + 7], "little") + 1
            height = int.from_bytes(data[body + 7 : body + 10], "little") + 1
        elif kind == b"VP8 " and not width:
            if data[body + 3 : body + 6] != b"\x9d\x01\x2a":
                raise _Damaged("its VP8 frame has no start code")
            width, height = (value & 0x3FFF for value in struct.unpack_from("<HH", data, body + 6))
        elif kind == b"VP8L" and not width:
            if data[body : body + 1] != b"\x2f":
                raise _Damaged("its VP8L frame has no signature")
            (packed,) = struct.unpack_from("<I", data, body + 1)
            width, height = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
        elif kind == b"EXIF":
            exif = data[body : body + length]
            orientation = orientation_of_exif(exif.removeprefix(b"Exif\0\0"))
        position = body + length + (length & 1)
    if not width:
        raise _Damaged("it ends before its size")
    return ImageHeader("WebP", width, height, orientation)


def _gif(data: bytes) -> ImageHeader:
    """Reads a GIF89a: the logical screen, and the first frame, which must lie on it."""
    width, height, packed = struct.unpack_from("<HHB", data, 6)
    position = 13 + (3 << (packed & 7) + 1 if packed & 0x80 else 0)
    for _ in range(_MOST_CHUNKS):
        kind = data[position]
        if kind == 0x2C:
            break
        if kind != 0x21:
            raise _Damaged("it has no frame")
        position += 2
        while data[position]:
            position += data[position] + 1
        position += 1
    left, top, frame_width, frame_height = struct.unpack_from("<HHHH", data, position + 1)
    if width and height and (left + frame_width > width or top + frame_height > height):
        raise _Damaged(
            f"its first frame, {frame_width} x {frame_height} at ({left}, {top}), leaves its {width} x {height} screen"
        )
    return ImageHeader("GIF", width, height)


def _bmp(data: bytes) -> ImageHeader:
    """Reads a BMP: BITMAPCOREHEADER (12 bytes) or BITMAPINFOHEADER and later; a negative height means top row first."""
    (size,) = struct.unpack_from("<I", data, 14)
    if size == 12:
        width, height = struct.unpack_from("<HH", data, 18)
    elif size >= 16:
        width, height = struct.unpack_from("<ii", data, 18)
    else:
        raise _Damaged(f"an info header of {size} bytes")
    return ImageHeader("BMP", width, abs(height))


def _tiff(data: bytes) -> ImageHeader:
    """Reads the first directory of a TIFF 6.0 or BigTIFF."""
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    (position,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, position)
    position += 8 if big else 2
    tags: dict[int, int] = {}
    for _ in range(min(count, _MOST_TIFF_TAGS)):
        tag, kind = struct.unpack_from(order + "HH", data, position)
        number = struct.unpack_from(order + ("Q" if big else "I"), data, position + 4)[0]
        value_at = position + (12 if big else 8)
        code, width = {1: ("B", 1), 3: ("H", 2), 4: ("I", 4), 16: ("Q", 8)}.get(kind, ("", 0))
        if code and number:
            if number * width > (8 if big else 4):
                (value_at,) = struct.unpack_from(order + ("Q" if big else "I"), data, value_at)
            if tag in (256, 257, 258, 274, 339):
                if tag in tags:
                    # Readers differ in which of them counts, and a small one could hide a huge image.
                    raise _Damaged(f"it has tag {tag} twice")
                tags[tag] = struct.unpack_from(order + code, data, value_at)[0]
        position += 20 if big else 12
    if 256 not in tags or 257 not in tags:
        raise _Damaged("its first directory has no size")
    orientation = tags.get(274, 1)
    return ImageHeader(
        "TIFF",
        tags[256],
        tags[257],
        orientation if 1 <= orientation <= 8 else 1,
        tags.get(258, 1),
        sample_format=_SAMPLE_FORMATS.get(tags.get(339, 1), "unsigned"),
    )
