"""Decodes the images of a data set once, and keeps as many of them in memory as is allowed."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Generic, Protocol, TypeVar

import numpy as np

from cvserve.artifact.specs import PreprocSpec
from cvserve.console import Progress
from cvserve.data.augment.augment import Augmentation, crop_and_resize
from cvserve.data.problems import BadImage, verify
from cvserve.data.source import Source
from cvserve.errors import ImageError
from cvserve.parallel import ordered_map
from cvserve.preproc import decode, preprocess, resize_to

# An image is shrunk before it is cached where it has this many times the pixels per side that its smallest crop needs.
MUCH_LARGER = 1.5


class Sized(Protocol):
    """Defines an item of a cache. It states its size in bytes, as arrays do."""

    @property
    def nbytes(self) -> int:
        """Returns the number of bytes."""


Item = TypeVar("Item", bound=Sized)


class Cache(ABC, Generic[Item]):
    """Caches the images of a data set as a pipeline needs them before its random part.

    Whether an image is cached never changes what is shown of it, only the time it takes. Filled once by `fill`, only
    read afterwards: safe for threads.

    Args:
        limit: the most bytes in memory.
    """

    def __init__(self, dataset: Source, limit: int) -> None:
        self._dataset = dataset
        self._limit = limit
        self._cached: dict[int, Item] = {}
        self.bytes = 0

    @abstractmethod
    def _load(self, index: int) -> Item:
        """Decodes an image.

        Raises:
            ImageError: it cannot be decoded.
        """

    def __len__(self) -> int:
        """Returns the number of images in memory."""
        return len(self._cached)

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
                    self._cached[index] = image
                    self.bytes += image.nbytes
                else:
                    break
                progress.advance()
            loaded.close()
            bad += verify(self._dataset, range(next_index, total), workers=workers)
            progress.update(total)
        return tuple(bad)

    def get(self, index: int) -> Item:
        """Returns the image, from memory or decoded now. It must not be written to.

        Raises:
            ImageError: it cannot be decoded.
        """
        cached = self._cached.get(index)
        return self._load(index) if cached is None else cached

    def _try_load(self, index: int) -> Item | BadImage:
        try:
            return self._load(index)
        except ImageError as error:
            return BadImage(index, self._dataset.name(index), error.reason)


class ImageCache(Cache[np.ndarray]):
    """Caches images ready for the random part of `augment`, uint8 RGB [h, w, 3].

    Without random crops that is the graph's input itself, [height, width, 3]. With them it is the decoded image,
    shrunk where it is much larger than the smallest crop needs.
    """

    def __init__(self, dataset: Source, spec: PreprocSpec, augmentation: Augmentation, limit: int) -> None:
        super().__init__(dataset, limit)
        self._spec = spec
        self._augmentation = augmentation
        self._needed = None if augmentation.crop_scale is None else smallest_source(spec, augmentation)

    def finish(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Crops and resizes an image as far as that is not done yet: uint8 RGB [h, w, 3] to [height, width, 3]."""
        if self._needed is None:
            return pixels
        return crop_and_resize(pixels, self._spec, self._augmentation, rng)

    def _load(self, index: int) -> np.ndarray:
        source, name = self._dataset.image(index), self._dataset.name(index)
        if self._needed is None:
            return preprocess(source, self._spec, name=name)[0]
        return shrink(decode(source, name=name, reduce_for=self._needed), self._needed)


def smallest_source(spec: PreprocSpec, augmentation: Augmentation) -> PreprocSpec:
    """Returns the size at which the smallest crop of an image still fills the graph's input, as a PreprocSpec."""
    fraction, (narrowest, widest) = (augmentation.crop_scale or (1.0, 1.0))[0], augmentation.crop_aspect
    # A crop of this fraction of the area and the least ratio r has sqrt(fraction * r) of the image's width.
    width = math.ceil(spec.width / math.sqrt(fraction * min(1.0, narrowest)))
    height = math.ceil(spec.height / math.sqrt(fraction / max(1.0, widest)))
    return PreprocSpec(height=min(height, 8192), width=min(width, 8192), resize="short_side")


def shrink(image: np.ndarray, needed: PreprocSpec) -> np.ndarray:
    """Shrinks an image that is much larger than `needed`, keeping its proportions: uint8 RGB [h, w, 3] to the same."""
    height, width = image.shape[:2]
    factor = min(width / needed.width, height / needed.height)
    if factor < MUCH_LARGER:
        return image
    return resize_to(image, round(width / factor), round(height / factor))
