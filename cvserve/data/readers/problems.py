"""Images that cannot be used: found by their headers before a training starts, and named."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cvserve.errors import ImageError
from cvserve.parallel import ordered_map
from cvserve.preproc import MAX_PIXELS, ImageSource, read_header
from cvserve.preproc.source import read_file

if TYPE_CHECKING:
    from cvserve.data.source import Source


@dataclass(frozen=True)
class BadImage:
    """An image that was left out. index: its place in the data set. reason: without the name."""

    index: int
    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def verify(
    dataset: Source, indices: Iterable[int] | None = None, *, max_pixels: int = MAX_PIXELS, workers: int = 4
) -> tuple[BadImage, ...]:
    """Reads the headers of a data set's files: missing and empty files, other formats, sizes over the limit.

    Damage behind the header shows only in decoding, which `ImagePipeline` does for all images that it caches.

    Args:
        indices: which images; None means all.
    """

    def check(index: int) -> BadImage | None:
        try:
            check_header(dataset.image(index), dataset.name(index), max_pixels)
        except ImageError as error:
            return BadImage(index, dataset.name(index), error.reason)
        return None

    chosen = range(len(dataset)) if indices is None else indices
    found = ordered_map(check, chosen, workers=workers, ahead=8 * workers)
    return tuple(bad for bad in found if bad is not None)


def check_header(source: ImageSource, name: str, max_pixels: int = MAX_PIXELS) -> None:
    """Raises ImageError for a file or bytes whose header shows that `preproc.decode` would refuse it."""
    if isinstance(source, np.ndarray):
        return
    data = source if isinstance(source, bytes) else read_file(source, name)
    header = read_header(data, name=name)
    if header.width * header.height > max_pixels:
        raise ImageError(name, f"has {header.width} x {header.height} pixels, more than the {max_pixels:,} allowed")


def summary(bad: Sequence[BadImage], total: int, shown: int = 5) -> str:
    """One sentence: how many of `total` images are left out, and the first of them by name and reason."""
    first = "; ".join(str(item) for item in bad[:shown])
    more = f"; and {len(bad) - shown} more" if len(bad) > shown else ""
    return f"{len(bad)} of {total} images cannot be used and are left out: {first}{more}"
