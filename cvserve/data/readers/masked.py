"""Holds one split of images with label maps, as every reader of masks gives it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from cvserve.data.masks import VOID
from cvserve.data.readers.base import FileSplit
from cvserve.errors import ImageError, InvalidInput
from cvserve.preproc import ImageHeader, read_header
from cvserve.preproc.source import read_file


class LabelMap(Protocol):
    """Reads the label map of one image when it is needed."""

    def read(self, image: ImageHeader) -> np.ndarray:
        """Returns the label map, uint8 [H, W] of the upright image.

        Raises:
            ImageError: it cannot be read. InvalidInput: it has a label that is none of the classes.
        """

    def check(self, image: ImageHeader) -> None:
        """Raises ImageError where `read` would, as far as that shows without reading all of it."""


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """Holds an image and its label map. name: of the image in reports."""

    path: Path
    name: str
    labels: LabelMap


@dataclass(frozen=True, eq=False, kw_only=True)
class MaskedSplit(FileSplit[LabelledImage]):
    """Holds one split of a data set with label maps, as a `cvserve.data.source.SegmentationSource`.

    colors: RGB of each class, or empty.
    """

    colors: tuple[tuple[int, int, int], ...] = ()

    def __post_init__(self) -> None:
        if len(self.classes) > VOID:
            raise InvalidInput(
                f"{self.origin}: has {len(self.classes)} classes, more than the {VOID} that are possible"
            )
        if not self.images:
            raise InvalidInput(f"{self.origin}: there are no images in {self.split}")

    def mask(self, index: int) -> np.ndarray:
        """Returns the label map, uint8 [H, W] of the upright image: indices into `classes`, or `VOID`.

        Raises:
            ImageError: image or mask cannot be read, or their sizes differ.
            InvalidInput: it has a label that is none of the classes.
        """
        header = self._header(index)
        try:
            return self.images[index].labels.read(header)
        except ImageError as error:
            raise self._of_image(index, error) from None

    def check(self, index: int) -> None:
        """Raises ImageError where the headers of the image and its mask show that they cannot be used together."""
        header = self._header(index)
        try:
            self.images[index].labels.check(header)
        except ImageError as error:
            raise self._of_image(index, error) from None

    def describe(self) -> str:
        """Returns one line: data set, split, images, classes."""
        shown = ", ".join(self.classes)
        if len(self.classes) > 20:
            shown = f"{', '.join(self.classes[:3])} and {len(self.classes) - 3} more"
        return self._described(f"images with masks of {len(self.classes)} classes ({shown})")

    def _header(self, index: int) -> ImageHeader:
        image = self.images[index]
        return read_header(read_file(image.path, image.name), name=image.name)

    def _of_image(self, index: int, error: ImageError) -> ImageError:
        """Turns an error of a mask into one of its image."""
        return ImageError(self.images[index].name, f"its mask {error.source} cannot be used: {error.reason}")
