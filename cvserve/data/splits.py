"""Decides to which split (train, val or test) an image belongs, by the image alone.

The split follows from a hash of the file's content, not of its name or folder. So an image stays in its split when it
is renamed, moved to another class or another disk, or when others are added or removed; and two copies of one image,
under whatever names, are always in the same split, so that no copy of a training image is used in validation. (A hash
of the name would be cheaper, and wrong in just these cases.) The price: re-encoding an image makes it another one, and
the fractions are met on average, not exactly.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cvserve.preproc.source import open_without_waiting

SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")

ALL = "all"
"""The split that holds every image of a data set which is not divided on disk."""

_BLOCK = 64 * 1024


class SplitFractions(BaseModel):
    """Holds the expected fraction of the images in each split; they add up to 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: float = Field(default=0.8, ge=0, le=1)
    val: float = Field(default=0.1, ge=0, le=1)
    test: float = Field(default=0.1, ge=0, le=1)

    @model_validator(mode="after")
    def _check(self) -> SplitFractions:
        total = self.train + self.val + self.test
        if abs(total - 1) > 1e-9:
            raise ValueError(f"the fractions of train, val and test must add up to 1, not {total:g}")
        return self

    def split_at(self, position: float) -> SplitName:
        """Returns the split of an image at `position` (0 <= position < 1).

        val is at the low end and test at the high end, train between: changing the fraction of one of the two never
        moves an image of the other.
        """
        if position < self.val:
            return "val"
        return "test" if position >= 1 - self.test else "train"

    def split_of(self, path: Path) -> SplitName:
        """Returns the split of an image file by its content.

        A file that cannot be read is in train: it is no reason to refuse the data set, and is reported there and left
        out.
        """
        try:
            return self.split_at(content_position(path))
        except OSError:
            return "train"


def content_position(path: Path) -> float:
    """Returns the position of the file's content in [0, 1): BLAKE2b over its size and its bytes.

    Of files over 192 KiB only three blocks (start, middle, end) are read, since a folder of large images should open
    fast; two different images that agree in size and in all three are in the same split.

    Raises:
        OSError: the file cannot be read, or is no regular file (a named pipe).
    """
    with open(path, "rb", opener=open_without_waiting) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        size = status.st_size
        digest = hashlib.blake2b(size.to_bytes(8, "big"), digest_size=8)
        for start in _block_starts(size):
            digest.update(_read_at(file, start))
    # 53 of the 64 bits: what a float holds exactly, so that the result never rounds up to 1.
    return (int.from_bytes(digest.digest(), "big") >> 11) / 2**53


def _block_starts(size: int) -> list[int]:
    if size <= 3 * _BLOCK:
        return list(range(0, size, _BLOCK))
    return [0, (size - _BLOCK) // 2, size - _BLOCK]


def _read_at(file: BinaryIO, start: int) -> bytes:
    file.seek(start)
    return file.read(_BLOCK)
