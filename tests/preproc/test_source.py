"""Reading image files: existing and missing ones, folders, pipes and devices."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from cvserve.errors import ImageError
from cvserve.preproc import decode, source

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "größe ü 雏菊.png"
    path.write_bytes(cv2.imencode(".png", PIXELS[..., ::-1])[1].tobytes())
    return path


def test_path_string_and_bytes_give_the_same(image: Path) -> None:
    for form in (image, str(image), image.read_bytes()):
        assert np.array_equal(decode(form), PIXELS)


def test_the_suffix_does_not_matter(image: Path) -> None:
    assert np.array_equal(decode(image.rename(image.with_suffix(".jpg"))), PIXELS)


def test_errors_name_the_path_or_the_name_given(tmp_path: Path) -> None:
    path = tmp_path / "missing.jpg"
    with pytest.raises(ImageError) as error:
        decode(path)
    assert str(error.value) == f"{path}: no such file"
    with pytest.raises(ImageError) as error:
        decode(path, name="row 7")
    assert str(error.value) == "row 7: no such file"


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"is a folder, not an image|is not a regular file"):
        decode(tmp_path)


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ImageError, match=r"empty\.jpg: is empty"):
        decode(tmp_path / "empty.jpg")


def test_an_invalid_path() -> None:
    with pytest.raises(ImageError, match="cannot be read"):
        decode("a\0b.jpg")
    with pytest.raises(ImageError, match="cannot be read"):
        decode("x" * 5000)


@pytest.mark.skipif(sys.platform == "win32", reason="named pipes are POSIX")
@pytest.mark.timeout(10)
def test_a_named_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ImageError, match="is not a regular file"):
        decode(tmp_path / "pipe.jpg")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero here")
@pytest.mark.timeout(10)
def test_an_endless_device_does_not_hang() -> None:
    with pytest.raises(ImageError, match="is not a regular file"):
        decode("/dev/zero")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_that_may_not_be_read(image: Path) -> None:
    image.chmod(0)
    with pytest.raises(ImageError, match=r"cannot be read \(Permission denied\)"):
        decode(image)


def test_a_huge_file_is_refused_by_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "huge.bmp"
    with path.open("wb") as file:
        file.truncate(source.MAX_FILE_BYTES + 1)  # a hole: it takes no room on the disk
    with pytest.raises(ImageError, match="has 1,073,741,825 bytes, more than the 1,073,741,824 that are allowed"):
        decode(path)
