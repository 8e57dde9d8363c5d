"""Pictures on their way into batches: decoded once, kept in memory as far as it is allowed."""

from __future__ import annotations

import math

import numpy as np

from cvserve.artifact.specs import PreprocSpec
from cvserve.console import Progress
from cvserve.data.augment import Augmentation, crop_and_resize
from cvserve.data.dataset import Source
from cvserve.data.problems import BadPicture, verify
from cvserve.errors import ImageError
from cvserve.parallel import ordered_map
from cvserve.preproc import Geometry, decode, preprocess, resize_to

# A picture is shrunk before it is cached where it has this many times the pixels a side that its smallest crop needs.
_MUCH_LARGER = 1.5


class PictureCache:
    """The pictures of a data set, ready for `augment`'s random part.

    Without random crops that is the graph's input itself, uint8 [height, width, 3]. With them it is the decoded
    picture, shrunk where it is much larger than the smallest crop needs. Whether a picture is cached never changes its
    pixels, only the time they take. Filled once by `fill`, only read afterwards: safe for threads.

    Args:
        limit: bytes of pixels to keep at most.
    """

    def __init__(self, dataset: Source, spec: PreprocSpec, augmentation: Augmentation, limit: int) -> None:
        self._dataset = dataset
        self._spec = spec
        self._augmentation = augmentation
        self._limit = limit
        self._needed = None if augmentation.crop_scale is None else smallest_source(spec, augmentation)
        self._kept: dict[int, np.ndarray] = {}
        self._geometries: dict[int, Geometry] = {}
        self.bytes = 0

    def __len__(self) -> int:
        """Number of pictures in memory."""
        return len(self._kept)

    def fill(self, workers: int) -> tuple[BadPicture, ...]:
        """Decodes pictures in index order until the limit is reached, and reads the headers of the rest.

        Returns:
            The pictures that cannot be used, by index.
        """
        bad: list[BadPicture] = []
        total = len(self._dataset)
        next_index = 0
        with Progress(total, f"reading {self._dataset.split} pictures", unit="images") as progress:
            loaded = ordered_map(self._try_load, range(total), workers=workers, ahead=4 * workers)
            for index, pixels in enumerate(loaded):
                next_index = index + 1
                if isinstance(pixels, BadPicture):
                    bad.append(pixels)
                elif self.bytes + pixels.nbytes <= self._limit:
                    self._kept[index] = pixels
                    self.bytes += pixels.nbytes
                else:
                    break
                progress.advance()
            loaded.close()
            bad += verify(self._dataset, range(next_index, total), workers=workers)
            progress.update(total)
        return tuple(bad)

    def get(self, index: int) -> np.ndarray:
        """The picture, from memory or decoded now: uint8 RGB [h, w, 3]. It must not be written to.

        Raises:
            ImageError: it cannot be decoded.
        """
        kept = self._kept.get(index)
        return self._load(index) if kept is None else kept

    def geometry(self, index: int) -> Geometry:
        """Between the upright original and what `get` gives; only where there are no random crops.

        Raises:
            ImageError: the picture cannot be decoded.
        """
        if index not in self._geometries:
            self._load(index)
        return self._geometries[index]

    def finish(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The geometry that is left to do: uint8 RGB [h, w, 3] to [height, width, 3]."""
        if self._needed is None:
            return pixels
        return crop_and_resize(pixels, self._spec, self._augmentation, rng)

    def _load(self, index: int) -> np.ndarray:
        source, name = self._dataset.image(index), self._dataset.name(index)
        if self._needed is None:
            pixels, self._geometries[index] = preprocess(source, self._spec, name=name)
            return pixels
        return shrink(decode(source, name=name, reduce_for=self._needed), self._needed)

    def _try_load(self, index: int) -> np.ndarray | BadPicture:
        try:
            return self._load(index)
        except ImageError as error:
            return BadPicture(index, self._dataset.name(index), error.reason)


def smallest_source(spec: PreprocSpec, augmentation: Augmentation) -> PreprocSpec:
    """The size that a picture must have for its smallest crop still to fill the graph's input, as a PreprocSpec."""
    share, (narrowest, widest) = (augmentation.crop_scale or (1.0, 1.0))[0], augmentation.crop_aspect
    # A crop of this share and the least ratio r is sqrt(share * r) of the picture's width.
    width = math.ceil(spec.width / math.sqrt(share * min(1.0, narrowest)))
    height = math.ceil(spec.height / math.sqrt(share / max(1.0, widest)))
    return PreprocSpec(height=min(height, 8192), width=min(width, 8192), resize="short_side")


def shrink(image: np.ndarray, needed: PreprocSpec) -> np.ndarray:
    """Shrinks a picture, keeping its shape, that is much larger than `needed`: uint8 RGB [h, w, 3] to the same."""
    height, width = image.shape[:2]
    factor = min(width / needed.width, height / needed.height)
    if factor < _MUCH_LARGER:
        return image
    return resize_to(image, round(width / factor), round(height / factor))
