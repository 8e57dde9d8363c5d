"""Reports what cannot be used of a data set: images, by their headers before a training starts, and annotations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from cvserve.data.source import ChecksImages, Source
from cvserve.errors import ImageError
from cvserve.parallel import ordered_map
from cvserve.preproc import MAX_PIXELS, ImageSource, read_header
from cvserve.preproc.source import read_file

_SHOWN = 5


@dataclass(frozen=True)
class Problem:
    """Reports an annotation that is not used as it is written.

    image: the name of the image, or of the file with annotations. what: the annotation, and where it is written; ""
    for all of the image. reason: why.
    """

    image: str
    what: str
    reason: str

    def __str__(self) -> str:
        return f"{self.image}: {self.what} {self.reason}" if self.what else f"{self.image}: {self.reason}"


@dataclass(frozen=True)
class BadImage:
    """Reports an image that is left out. index: in the data set. reason: without the name."""

    index: int
    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def verify(
    dataset: Source, indices: Iterable[int] | None = None, *, max_pixels: int = MAX_PIXELS, workers: int = 4
) -> tuple[BadImage, ...]:
    """Finds missing and empty files, other formats, and sizes over the limit, by reading the files' headers.

    Damage behind the header shows only in decoding, which a pipeline does for all images that it caches.

    Args:
        indices: which images; None means all.
    """

    def check(index: int) -> BadImage | None:
        try:
            check_header(dataset.image(index), dataset.name(index), max_pixels)
            if isinstance(dataset, ChecksImages):
                dataset.check(index)
        except ImageError as error:
            return BadImage(index, dataset.name(index), error.reason)
        return None

    chosen = range(len(dataset)) if indices is None else indices
    outcomes = ordered_map(check, chosen, workers=workers, ahead=8 * workers)
    return tuple(bad for bad in outcomes if bad is not None)


def check_header(source: ImageSource, name: str, max_pixels: int = MAX_PIXELS) -> None:
    """Raises ImageError for a file or bytes whose header shows that `preproc.decode` would refuse it."""
    if isinstance(source, np.ndarray):
        return
    data = source if isinstance(source, bytes) else read_file(source, name)
    header = read_header(data, name=name)
    if header.width * header.height > max_pixels:
        raise ImageError(name, f"has {header.width} x {header.height} pixels, more than the {max_pixels:,} allowed")


def summary(bad: Sequence[BadImage], total: int) -> str:
    """Returns one sentence: how many of `total` images are left out, and the first of them by name and reason."""
    return f"{len(bad)} of {total} images cannot be used and are left out: {first_few(bad)}"


def few_names(names: Sequence[str]) -> str:
    """Returns the first eight names as text, and how many more there are."""
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def first_few(items: Sequence[object]) -> str:
    """Returns the first items as text, and how many more there are."""
    more = f"; and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return "; ".join(map(str, items[:_SHOWN])) + more
