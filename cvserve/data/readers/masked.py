"""One split of images with label maps, as every reader of masks gives it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from cvserve.data.masks import VOID
from cvserve.data.readers.problems import BadImage, check_header
from cvserve.errors import ImageError, InvalidInput
from cvserve.parallel import ordered_map
from cvserve.preproc import ImageHeader, read_header
from cvserve.preproc.source import read_file


class LabelMap(Protocol):
    """Where the labels of one image come from."""

    def read(self, image: ImageHeader) -> np.ndarray:
        """uint8 [H, W] of the upright image.

        Raises:
            ImageError: it cannot be had. InvalidInput: it has a label that is none of the classes.
        """

    def check(self, image: ImageHeader) -> None:
        """Raises ImageError where `read` would, as far as that shows without reading it all."""


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """An image and its label map. name: what reports call it."""

    path: Path
    name: str
    labels: LabelMap


@dataclass(frozen=True, eq=False)
class MaskedSplit:
    """One side of a data set with label maps, as a `cvserve.data.masks.SegmentationSource`.

    origin: what `describe` calls the data set. colours: RGB of each class, or empty. note: a sentence more for
    `describe`.
    """

    origin: str
    split: str
    classes: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    images: tuple[LabelledImage, ...]
    note: str = ""

    def __post_init__(self) -> None:
        if len(self.classes) > VOID:
            raise InvalidInput(
                f"{self.origin}: has {len(self.classes)} classes, more than the {VOID} that are possible"
            )
        if not self.images:
            raise InvalidInput(f"{self.origin}: there are no images in {self.split}")

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> Path:
        """The image's file."""
        return self.images[index].path

    def name(self, index: int) -> str:
        """What reports call the image."""
        return self.images[index].name

    def mask(self, index: int) -> np.ndarray:
        """uint8 [H, W] of the upright image: indices into `classes`, or `VOID`.

        Raises:
            ImageError: image or mask cannot be read, or their sizes do not fit.
            InvalidInput: it has a label that is none of the classes.
        """
        image, header = self.images[index], self._header(index)
        try:
            return image.labels.read(header)
        except ImageError as error:
            raise _of_image(image, error) from None

    def describe(self) -> str:
        """One line: data set, split, images, classes."""
        shown = ", ".join(self.classes)
        if len(self.classes) > 20:
            shown = f"{', '.join(self.classes[:3])} and {len(self.classes) - 3} more"
        text = f"{self.origin} {self.split}: {len(self)} images with masks of {len(self.classes)} classes ({shown})"
        return "; ".join(filter(None, (text, self.note)))

    def verify(self, indices: Iterable[int] | None = None, *, workers: int = 4) -> tuple[BadImage, ...]:
        """The images whose headers, or those of their masks, show that they cannot be used."""
        chosen = range(len(self)) if indices is None else indices
        found = ordered_map(self._fault, chosen, workers=workers, ahead=8 * workers)
        return tuple(bad for bad in found if bad is not None)

    def without(self, indices: Iterable[int]) -> MaskedSplit:
        """The same split, less these images."""
        left_out = set(indices)
        kept = tuple(image for index, image in enumerate(self.images) if index not in left_out)
        return replace(self, images=kept)

    def part(self, split: str, images: Sequence[LabelledImage], note: str) -> MaskedSplit:
        """The side `split` with these of its images, and a sentence more for `describe`."""
        note = "; ".join(filter(None, (self.note, note)))
        return replace(self, split=split, images=tuple(images), note=note)

    def _header(self, index: int) -> ImageHeader:
        image = self.images[index]
        return read_header(read_file(image.path, image.name), name=image.name)

    def _fault(self, index: int) -> BadImage | None:
        image = self.images[index]
        try:
            check_header(image.path, image.name)
            try:
                image.labels.check(self._header(index))
            except ImageError as error:
                raise _of_image(image, error) from None
        except ImageError as error:
            return BadImage(index, image.name, error.reason)
        return None


def _of_image(image: LabelledImage, error: ImageError) -> ImageError:
    """What is wrong with a mask, as what is wrong with its image."""
    return ImageError(image.name, f"its mask {error.source} cannot be used: {error.reason}")
