"""Format, size, orientation and depth from the header alone, and what is refused by it."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_files import exif_block, jpeg_with_exif, png_chunk, png_with, tiff
from PIL import Image

from cvserve.errors import ImageError
from cvserve.preproc import ImageHeader, decode, read_header


def encoded(kind: str, mode: str = "RGB", size: tuple[int, int] = (37, 23), **options: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (200, 100, 50)).convert(mode).save(file, kind, **options)  # type: ignore[arg-type]
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encoded("JPEG"), ImageHeader("JPEG", 37, 23)),
        (encoded("JPEG", progressive=True), ImageHeader("JPEG", 37, 23)),
        (encoded("JPEG", "CMYK"), ImageHeader("JPEG", 37, 23)),
        (encoded("PNG"), ImageHeader("PNG", 37, 23)),
        (encoded("PNG", "1"), ImageHeader("PNG", 37, 23, bits=1)),
        (encoded("PNG", "I;16"), ImageHeader("PNG", 37, 23, bits=16)),
        (encoded("WEBP"), ImageHeader("WebP", 37, 23)),  # a VP8 chunk
        (encoded("WEBP", lossless=True), ImageHeader("WebP", 37, 23)),  # VP8L
        (encoded("WEBP", exif=exif_block(8)), ImageHeader("WebP", 37, 23, 8)),  # VP8X, EXIF at the end
        (encoded("BMP"), ImageHeader("BMP", 37, 23)),
        (encoded("GIF", "P"), ImageHeader("GIF", 37, 23)),
        (encoded("TIFF"), ImageHeader("TIFF", 37, 23)),
        (encoded("TIFF", "1"), ImageHeader("TIFF", 37, 23, bits=1)),
        (encoded("TIFF", "F"), ImageHeader("TIFF", 37, 23, bits=32, sample_format="float")),
        (encoded("TIFF", big_tiff=True), ImageHeader("TIFF", 37, 23)),
        (tiff(np.zeros((5, 7, 3), int), bits=16, photometric=2, orientation=5, order=">"),
         ImageHeader("TIFF", 7, 5, 5, 16)),
        (b"BM" + bytes(12) + struct.pack("<IHH", 12, 300, 200) + bytes(20), ImageHeader("BMP", 300, 200)),  # OS/2
        (b"BM" + bytes(12) + struct.pack("<Iii", 40, 300, -200) + bytes(40), ImageHeader("BMP", 300, 200)),  # top down
    ],
)  # fmt: skip
def test_headers(data: bytes, expected: ImageHeader) -> None:
    assert read_header(data) == expected


@given(st.integers(1, 65000), st.integers(1, 65000))
def test_any_size_is_read_without_its_pixels(width: int, height: int) -> None:
    packed = struct.pack(">HH", height, width)
    jpeg = b"\xff\xd8\xff\xc0\0\x0b\x08" + packed + b"\x01\x01\x11\0\xff\xda\0\x08\x01\x01\0\0\x3f\0\xff\xd9"
    gif = b"GIF89a" + struct.pack("<HH", width, height) + b"\0\0\0," + struct.pack("<HHHH", 0, 0, width, height)
    png = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    for data in (jpeg, gif, png + png_chunk(b"IEND", b"")):
        header = read_header(data)
        assert header.size == (width, height)
        if width * height > 89_000_000:
            with pytest.raises(ImageError, match="more than the 89,000,000 that are allowed"):
                decode(data)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [3, 4])
def test_exif_orientation_in_each_byte_order_and_width(orientation: int, order: str, kind: int) -> None:
    data = jpeg_with_exif(encoded("JPEG"), exif_block(orientation, order, kind))
    header = read_header(data)
    assert header.orientation == orientation
    assert header.size == ((23, 37) if orientation >= 5 else (37, 23))


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",  # a directory far outside
        exif_block(1)[:-10],
        exif_block(0),
        exif_block(9),
        exif_block(6).replace(b"II*", b"XX*"),
        b"II*\0\x08\0\0\0\xff\xff" + b"\0" * 24,  # more entries than there are
    ],
)
def test_damaged_exif_leaves_the_image_as_it_is(exif: bytes) -> None:
    assert read_header(jpeg_with_exif(encoded("JPEG"), exif)).orientation == 1


def test_png_orientation_before_and_after_the_pixels_and_as_imagemagick_writes_it() -> None:
    png = encoded("PNG")
    chunk = png_chunk(b"eXIf", exif_block(6))
    assert read_header(png_with(png, chunk)).orientation == 6
    assert read_header(png_with(png, chunk, before=b"IEND")).orientation == 6
    block = b"Exif\0\0" + exif_block(3)
    profile = b"\nexif\n      %d\n%s\n" % (len(block), block.hex().encode())
    keyword = b"Raw profile type exif\0"
    assert read_header(png_with(png, png_chunk(b"tEXt", keyword + profile))).orientation == 3
    packed = keyword + b"\0" + zlib.compress(profile)
    assert read_header(png_with(png, png_chunk(b"zTXt", packed))).orientation == 3
    for broken in (keyword + b"\0no zlib data", keyword + b"\0" + zlib.compress(b"\nexif\n 3\nxyz"), b"Title\0\0abc"):
        assert read_header(png_with(png, png_chunk(b"zTXt", broken))).orientation == 1


def test_an_exif_thumbnail_is_not_taken_for_the_image() -> None:
    thumbnail = encoded("JPEG", size=(16, 12))
    assert read_header(jpeg_with_exif(encoded("JPEG"), exif_block(1) + thumbnail)).size == (37, 23)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"label,score\ncat,0.5\n", "is text"),
        ("Überschrift\n".encode(), "is text"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is an SVG drawing"),
        (b"\n<!DOCTYPE html><html>404</html>", "is a web page"),
        (b"%PDF-1.7\n", "is a PDF document"),
        (b"\0\0\0\x20ftypavif" + bytes(20), "is an AVIF image"),
        (b"\0\0\0\x20ftypheic" + bytes(20), "is a HEIC image"),
        (b"\0\0\x01\0\x01\0", "is a Windows icon"),
        (b"P6\n2 2\n255\n" + bytes(12), "is a PPM image"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "is a JPEG 2000 image"),
        (b"\xff\x0a" + bytes(20), "is a JPEG XL image"),
        (b"\x89PNG\n\x1a\n", "is a PNG whose signature is damaged"),
        (bytes(100), "is not an image of a known format"),
    ],
)
def test_the_error_names_the_format_of_other_files(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError) as error:
        read_header(data, name="photos/a.jpg")
    assert str(error.value) == f"photos/a.jpg: {error.value.reason}"
    assert error.value.reason.startswith(reason)
    assert error.value.reason.endswith("images must be JPEG, PNG, WebP, BMP, TIFF or GIF")


def test_no_size_is_an_error() -> None:
    gif = bytearray(encoded("GIF", "P"))
    gif[6:8] = b"\0\0"
    with pytest.raises(ImageError, match="declares 0 x 23 pixels"):
        read_header(bytes(gif))


def test_a_gif_frame_outside_its_screen_is_refused() -> None:
    # Pillow's decompression_bomb.gif hides 65535 x 1321 pixels on a screen of 32 x 32.
    gif = b"GIF89a\x20\0\x20\0\0\0\0," + struct.pack("<HHHH", 0, 0, 65535, 65535) + b"\0\x02\0;"
    with pytest.raises(ImageError, match=r"65535 x 65535 at \(0, 0\), leaves its 32 x 32 screen"):
        read_header(gif)


def test_a_png_chunk_that_claims_gigabytes_is_refused() -> None:
    # OpenCV would allocate them and read zeros.
    png = encoded("PNG")
    at = png.index(b"IDAT") - 4
    with pytest.raises(ImageError, match="ends inside a chunk of 2,130,706,432 bytes"):
        read_header(png[:at] + b"\x7f\0\0\0" + png[at + 4 :])


def test_a_tiff_with_two_sizes_is_refused() -> None:
    # libtiff takes the first, other readers the last: a small second one would hide a huge image.
    entry = struct.pack("<HHII", 256, 4, 1, 11000) + struct.pack("<HHII", 257, 4, 1, 10000)
    small = struct.pack("<HHII", 256, 4, 1, 1) + struct.pack("<HHII", 257, 4, 1, 1)
    with pytest.raises(ImageError, match="tag 256 twice"):
        read_header(b"II*\0\x08\0\0\0" + struct.pack("<H", 4) + entry + small + b"\0\0\0\0")


def test_thousands_of_scans_are_refused_and_a_film_behind_the_image_is_not() -> None:
    progressive = encoded("JPEG", progressive=True)
    last = progressive.rindex(b"\xff\xda")
    scan = progressive[last:-2]
    with pytest.raises(ImageError, match="more than 100 scans"):
        read_header(progressive[:-2] + scan * 200 + b"\xff\xd9")
    assert read_header(progressive[:-2] + scan * 20 + b"\xff\xd9").size == (37, 23)
    film = b"\0\0\0\x18ftypmp42" + b"\xff\xda\xff\xc2" * 500
    for image in (progressive, encoded("JPEG")):
        assert np.array_equal(decode(image + film), decode(image))


def test_megabytes_of_empty_segments_are_refused_soon() -> None:
    jpeg = encoded("JPEG")
    progressive = encoded("JPEG", progressive=True)
    empty = b"\xff\xfe\x00\x02"
    with pytest.raises(ImageError, match="more than 10000 segments"):
        read_header(jpeg[:2] + empty * 20_000 + jpeg[2:])
    with pytest.raises(ImageError, match="more than 10000 segments"):
        read_header(progressive[:-2] + empty * 20_000 + b"\xff\xd9")
    assert read_header(jpeg[:2] + empty * 5_000 + jpeg[2:]).size == (37, 23)


@given(st.binary(max_size=200), st.sampled_from(range(8)))
def test_any_bytes_give_a_header_or_an_image_error(data: bytes, start: int) -> None:
    starts = [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8", b"GIF89a", b"II*\0", b"MM\0+", b"BM", b""]
    try:
        header = read_header(starts[start] + data)
    except ImageError:
        return
    assert header.width > 0
    assert header.height > 0
    assert header.orientation in range(1, 9)
