"""Mask files of every kind of PNG, against what was put into them."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from image_files import exif_block, png_chunk, png_with

from cvserve.data.readers.mask_classes import MaskClass, table_of
from cvserve.data.readers.mask_png import check_mask, read_mask
from cvserve.errors import ImageError, InvalidInput
from cvserve.preproc import ImageHeader
from cvserve.preproc.exif import upright

TABLE = table_of(
    "classes.txt",
    [
        MaskClass(0, "sky", (10, 20, 30)),
        MaskClass(1, "road", (200, 0, 0)),
        MaskClass(2, "unlabelled", (0, 0, 0), True),
        MaskClass(3, "car", (0, 0, 200)),
    ],
)
LABELS = np.array([0, 1, 255, 2], np.uint8)
VALUES = np.random.default_rng(0).integers(0, 4, (5, 11), np.uint8)


def png(kind: int, bits: int, values: np.ndarray, *chunks: bytes) -> bytes:
    """A PNG of colour type `kind` (0 gray, 3 palette) with these samples."""
    digits = (values[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1
    rows = np.packbits(digits.reshape(len(values), -1).astype(np.uint8), axis=1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, kind, 0, 0, 0)
    body = [png_chunk(b"IHDR", header), *chunks, png_chunk(b"IDAT", zlib.compress(raw)), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def palette(bits: int) -> bytes:
    # Colours that say nothing of the indices, two of them alike.
    return png_chunk(b"PLTE", bytes([7, 7, 7] * 2 + [1, 2, 3] * (2**bits - 2)))


def written(folder: Path, data: bytes) -> Path:
    path = folder / "mask.png"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
@pytest.mark.parametrize("kind", ["gray", "palette", "transparent palette", "transparent gray"])
def test_values(tmp_path: Path, kind: str, bits: int) -> None:
    if "palette" in kind:
        if bits == 16:
            pytest.skip("there is no such PNG")
        more = [png_chunk(b"tRNS", b"\0\x80")] if "transparent" in kind else []
        data = png(3, bits, VALUES, palette(bits), *more)
    else:
        more = [png_chunk(b"tRNS", struct.pack(">H", 1))] if "transparent" in kind else []
        data = png(0, bits, VALUES, *more)
    np.testing.assert_array_equal(read_mask(written(tmp_path, data), TABLE), LABELS[VALUES])


def test_one_bit(tmp_path: Path) -> None:
    values = VALUES % 2
    np.testing.assert_array_equal(read_mask(written(tmp_path, png(0, 1, values)), TABLE), LABELS[values])
    data = png(3, 1, values, png_chunk(b"PLTE", bytes(6)))
    np.testing.assert_array_equal(read_mask(written(tmp_path, data), TABLE), LABELS[values])


def test_a_palette_as_pillow_writes_it(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    mask = image.fromarray(VALUES, mode="P")
    mask.putpalette(list(range(200, 212)) + [0] * 756)
    mask.save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png", TABLE), LABELS[VALUES])


@pytest.mark.parametrize("alpha", [False, True])
def test_colors(tmp_path: Path, alpha: bool) -> None:
    colors = np.array([(10, 20, 30), (200, 0, 0), (0, 0, 0), (0, 0, 200)], np.uint8)[VALUES]
    stored = np.dstack([colors[..., ::-1], VALUES]) if alpha else colors[..., ::-1]
    path = written(tmp_path, cv2.imencode(".png", np.ascontiguousarray(stored))[1].tobytes())
    np.testing.assert_array_equal(read_mask(path, TABLE), LABELS[VALUES])


def test_values_in_three_channels(tmp_path: Path) -> None:
    plain = table_of("classes.txt", [MaskClass(value, f"class {value}") for value in range(4)])
    path = written(tmp_path, cv2.imencode(".png", np.repeat(VALUES[..., None], 3, axis=2))[1].tobytes())
    np.testing.assert_array_equal(read_mask(path, plain), VALUES)
    path.write_bytes(cv2.imencode(".png", np.full((2, 2, 3), (1, 2, 3), np.uint8))[1].tobytes())
    with pytest.raises(InvalidInput, match=r"mask.png is a mask of colours, but classes.txt has no colours"):
        read_mask(path, plain)


def test_255_is_always_void(tmp_path: Path) -> None:
    assert read_mask(written(tmp_path, png(0, 8, np.full((2, 3), 255, np.uint8))), TABLE).tolist() == [[255] * 3] * 2


def test_a_value_of_no_class_is_named(tmp_path: Path) -> None:
    values = VALUES.copy()
    values[3, 7] = 37
    with pytest.raises(InvalidInput, match=r"mask.png: the pixel at x=7, y=3 has the value 37, which no class of") as e:
        read_mask(written(tmp_path, png(0, 8, values)), TABLE)
    assert not isinstance(e.value, ImageError)  # A fault of the data set, not of one image.
    image = np.zeros((2, 3, 3), np.uint8)
    image[1, 2] = (9, 8, 7)
    with pytest.raises(InvalidInput, match=r"the pixel at x=2, y=1 has the colour \(7, 8, 9\), which no class of"):
        read_mask(written(tmp_path, cv2.imencode(".png", image)[1].tobytes()), TABLE)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"not an image", "PNG"),
        (png(0, 8, VALUES)[:-30], "ends inside|damaged|truncated"),
        (cv2.imencode(".jpg", VALUES)[1].tobytes(), "is a JPEG; masks must be PNG"),
        (cv2.imencode(".bmp", VALUES)[1].tobytes(), "is a BMP; masks must be PNG"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        read_mask(written(tmp_path, data), TABLE)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        read_mask(tmp_path / "none.png", TABLE)


class TestSizes:
    def test_another_size_than_the_image(self, tmp_path: Path) -> None:
        path = written(tmp_path, png(0, 8, VALUES))
        for read in (lambda header: read_mask(path, TABLE, header), lambda header: check_mask(path, header)):
            read(ImageHeader("JPEG", 11, 5))
            with pytest.raises(ImageError, match=r"is 11 x 5 pixels, its image 5 x 11"):
                read(ImageHeader("JPEG", 5, 11))

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_a_mask_of_an_image_stored_on_its_side(self, tmp_path: Path, orientation: int) -> None:
        """With the upright size it is upright; with another, stored size it is turned as the image is."""
        path = written(tmp_path, png(0, 8, VALUES))
        stored = ImageHeader("JPEG", 11, 5, orientation)
        expected = upright(LABELS[VALUES], orientation) if orientation >= 5 else LABELS[VALUES]
        np.testing.assert_array_equal(read_mask(path, TABLE, stored), expected)
        if orientation >= 5:
            np.testing.assert_array_equal(
                read_mask(path, TABLE, ImageHeader("JPEG", 5, 11, orientation)), LABELS[VALUES]
            )

    def test_a_square_one_is_taken_for_upright(self, tmp_path: Path) -> None:
        square = VALUES[:5, :5]
        path = written(tmp_path, png(0, 8, square))
        np.testing.assert_array_equal(read_mask(path, TABLE, ImageHeader("JPEG", 5, 5, 6)), LABELS[square])

    def test_a_mask_may_be_stored_on_its_side(self, tmp_path: Path) -> None:
        path = written(tmp_path, png_with(png(0, 8, VALUES), png_chunk(b"eXIf", exif_block(6))))
        labels = read_mask(path, TABLE, ImageHeader("JPEG", 5, 11))
        np.testing.assert_array_equal(labels, upright(LABELS[VALUES], 6))
