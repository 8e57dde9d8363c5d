"""Images on their way into batches: decoded once, kept in memory as far as it is allowed."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Generic, Protocol, TypeVar

import numpy as np

from cvserve.artifact.specs import PreprocSpec
from cvserve.console import Progress
from cvserve.data.augment.augment import Augmentation, crop_and_resize
from cvserve.data.readers.problems import BadImage, verify
from cvserve.data.source import Source
from cvserve.errors import ImageError
from cvserve.parallel import ordered_map
from cvserve.preproc import decode, preprocess, resize_to

# An image is shrunk before it is cached where it has this many times the pixels a side that its smallest crop needs.
MUCH_LARGER = 1.5


class Sized(Protocol):
    """What a cache keeps: anything that says how many bytes it takes, as arrays do."""

    @property
    def nbytes(self) -> int: ...


Kept = TypeVar("Kept", bound=Sized)


class Cache(ABC, Generic[Kept]):
    """The images of a data set as a pipeline wants them before its random part.

    Whether an image is cached never changes what is shown of it, only the time it takes. Filled once by `fill`, only
    read afterwards: safe for threads.

    Args:
        limit: bytes to keep at most.
    """

    def __init__(self, dataset: Source, limit: int) -> None:
        self._dataset = dataset
        self._limit = limit
        self._kept: dict[int, Kept] = {}
        self.bytes = 0

    @abstractmethod
    def _load(self, index: int) -> Kept:
        """Decodes an image.

        Raises:
            ImageError: it cannot be decoded.
        """

    def __len__(self) -> int:
        """Number of images in memory."""
        return len(self._kept)

    def fill(self, workers: int) -> tuple[BadImage, ...]:
        """Decodes images in index order until the limit is reached, and reads the headers of the rest.

        Returns:
            The images that cannot be used, by index.
        """
        bad: list[BadImage] = []
        total = len(self._dataset)
        next_index = 0
        with Progress(total, f"reading {self._dataset.split} images", unit="images") as progress:
            loaded = ordered_map(self._try_load, range(total), workers=workers, ahead=4 * workers)
            for index, image in enumerate(loaded):
                next_index = index + 1
                if isinstance(image, BadImage):
                    bad.append(image)
                elif self.bytes + image.nbytes <= self._limit:
                    self._kept[index] = image
                    self.bytes += image.nbytes
                else:
                    break
                progress.advance()
            loaded.close()
            bad += self._verify(range(next_index, total), workers)
            progress.update(total)
        return tuple(bad)

    def get(self, index: int) -> Kept:
        """The image, from memory or decoded now. It must not be written to.

        Raises:
            ImageError: it cannot be decoded.
        """
        kept = self._kept.get(index)
        return self._load(index) if kept is None else kept

    def _verify(self, indices: range, workers: int) -> tuple[BadImage, ...]:
        """Those of the images whose headers show that they cannot be used."""
        return verify(self._dataset, indices, workers=workers)

    def _try_load(self, index: int) -> Kept | BadImage:
        try:
            return self._load(index)
        except ImageError as error:
            return BadImage(index, self._dataset.name(index), error.reason)


class ImageCache(Cache[np.ndarray]):
    """Images ready for `augment`'s random part, uint8 RGB [h, w, 3].

    Without random crops that is the graph's input itself, [height, width, 3]. With them it is the decoded image,
    shrunk where it is much larger than the smallest crop needs.
    """

    def __init__(self, dataset: Source, spec: PreprocSpec, augmentation: Augmentation, limit: int) -> None:
        super().__init__(dataset, limit)
        self._spec = spec
        self._augmentation = augmentation
        self._needed = None if augmentation.crop_scale is None else smallest_source(spec, augmentation)

    def finish(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The geometry that is left to do: uint8 RGB [h, w, 3] to [height, width, 3]."""
        if self._needed is None:
            return pixels
        return crop_and_resize(pixels, self._spec, self._augmentation, rng)

    def _load(self, index: int) -> np.ndarray:
        source, name = self._dataset.image(index), self._dataset.name(index)
        if self._needed is None:
            return preprocess(source, self._spec, name=name)[0]
        return shrink(decode(source, name=name, reduce_for=self._needed), self._needed)


def smallest_source(spec: PreprocSpec, augmentation: Augmentation) -> PreprocSpec:
    """The size that an image must have for its smallest crop still to fill the graph's input, as a PreprocSpec."""
    share, (narrowest, widest) = (augmentation.crop_scale or (1.0, 1.0))[0], augmentation.crop_aspect
    # A crop of this share and the least ratio r is sqrt(share * r) of the image's width.
    width = math.ceil(spec.width / math.sqrt(share * min(1.0, narrowest)))
    height = math.ceil(spec.height / math.sqrt(share / max(1.0, widest)))
    return PreprocSpec(height=min(height, 8192), width=min(width, 8192), resize="short_side")


def shrink(image: np.ndarray, needed: PreprocSpec) -> np.ndarray:
    """Shrinks an image, keeping its shape, that is much larger than `needed`: uint8 RGB [h, w, 3] to the same."""
    height, width = image.shape[:2]
    factor = min(width / needed.width, height / needed.height)
    if factor < MUCH_LARGER:
        return image
    return resize_to(image, round(width / factor), round(height / factor))
