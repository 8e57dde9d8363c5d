"""Reads what a user passes as an image: a path, bytes or an array."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TypeAlias

import numpy as np

from cvserve.errors import ImageError

ImageSource: TypeAlias = str | Path | bytes | np.ndarray

# 89 million pixels of 16-bit RGBA, uncompressed, are 712 million bytes; no image within the default limit needs more.
MAX_FILE_BYTES = 1 << 30


def read_file(path: str | Path, name: str) -> bytes:
    """Returns the bytes of an image's file.

    Raises:
        ImageError: there is no such file, it is no regular file (a folder, a pipe, a device), it cannot be read, or
            it is larger than MAX_FILE_BYTES.
    """
    try:
        with open(path, "rb", opener=open_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ImageError(name, "is not a regular file")
            if status.st_size > MAX_FILE_BYTES:
                raise ImageError(
                    name, f"has {status.st_size:,} bytes, more than the {MAX_FILE_BYTES:,} that are allowed"
                )
            return file.read(status.st_size)  # `read` allocates as many bytes as it is asked for
    except FileNotFoundError:
        raise ImageError(name, "no such file") from None
    except IsADirectoryError:
        raise ImageError(name, "is a folder, not an image") from None
    except ImageError:
        raise
    except OSError as error:
        raise ImageError(name, f"cannot be read ({error.strerror})") from None
    except ValueError as error:
        # A path with a zero byte in it.
        raise ImageError(name, f"cannot be read ({error})") from None


def open_without_waiting(path: str, flags: int) -> int:
    """Opens a file for `open`, without waiting for ever at a named pipe without a writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def from_array(array: np.ndarray, name: str) -> np.ndarray:
    """Returns an array [H, W], [H, W, 1], [H, W, 3] (RGB) or [H, W, 4] (RGBA) as uint8 RGB [H, W, 3], C-contiguous.

    What is that already is handed back as it is, not copied.

    Raises:
        ImageError: another dtype or shape, or no pixels.
    """
    if array.dtype != np.uint8:
        raise ImageError(name, f"is an array of {array.dtype}, where uint8 from 0 to 255 is needed")
    image = array[:, :, None] if array.ndim == 2 else array
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or image.size == 0:
        raise ImageError(
            name,
            f"is an array of shape {list(array.shape)}, where [height, width], [height, width, 3] (RGB) or "
            "[height, width, 4] (RGBA) is needed",
        )
    if image.shape[2] == 1:
        image = np.repeat(image, 3, axis=2)
    if image.shape[2] == 4:
        image = image[:, :, :3]
    return np.ascontiguousarray(image)
