"""What every source of labelled images offers."""

from __future__ import annotations

from typing import Protocol

from cvserve.preproc import ImageSource


class Source(Protocol):
    """One split of images of any task. Indices run from 0 to len() - 1, always in the same order."""

    @property
    def split(self) -> str:
        """ "train", "val", "test" (or "all" of a folder without splits)."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in label order."""

    def __len__(self) -> int:
        """Number of images."""

    def image(self, index: int) -> ImageSource:
        """The image: a path, or uint8 RGB pixels [H, W, 3]."""

    def name(self, index: int) -> str:
        """What reports call the image; unique in the split."""

    def describe(self) -> str:
        """One line: where it comes from, how many images, which classes."""


class Dataset(Source, Protocol):
    """One split of a data set for classification."""

    def label(self, index: int) -> int:
        """The image's class, an index into `classes`."""
