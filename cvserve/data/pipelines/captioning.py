"""Images with captions to batches: as `ImagePipeline`, with token ids."""

from __future__ import annotations

import re
from typing import Literal

import numpy as np

from cvserve.artifact.specs import PreprocSpec
from cvserve.data.augment.augment import Augmentation, flip_and_color
from cvserve.data.captions import CaptionSource
from cvserve.data.pipelines.base import CACHE_BYTES, ArraySpec, BatchPipeline
from cvserve.data.pipelines.cache import ImageCache
from cvserve.errors import InvalidInput
from cvserve.text import Tokenizer

# Apart from the draws of the other pipelines and of the order.
_CAPTION, _ORDER_OF_CAPTIONS = 5, 6

AUGMENTATION = Augmentation(flip=0.0, crop_scale=(0.8, 1.0), crop_aspect=(0.9, 1.1), saturation=0.1)
"""What leaves captions true: not mirrored, for they say left and right; little cropped, for what they name must be
seen; no other hues."""

Which = Literal["drawn", "first", "all"]

_SIDES = re.compile(r"\b(?:left|right)\b", re.IGNORECASE)

Example = tuple[np.ndarray, np.ndarray]
"""uint8 [H, W, 3] and int32 [T]."""


class CaptionPipeline(BatchPipeline[CaptionSource, Example]):
    """The batches of one split for captioning: (uint8 [B, H, W, 3], int32 [B, T]).

    Order, cache, threads and images that cannot be used are as in `ImagePipeline`.

    Args:
        tokenizer: makes ids of captions; T is its length.
        augmentation: None shows images as `preproc.preprocess` gives them, byte for byte; see `AUGMENTATION`.
        captions: "drawn": each epoch shows every image once, with one of its captions by chance; "first": with its
            first one; "all": an epoch shows every image with each of its captions, in an order by chance if shuffled.

    Raises:
        InvalidInput: an option out of range.

    Example:
        train = open_dataset("coco", task="captioning")
        tokenizer = Tokenizer(learn_vocabulary(all_captions(train)))
        pipeline = CaptionPipeline(train, spec, tokenizer, batch_size=32, augmentation=AUGMENTATION, shuffle=True)
        for images, tokens in pipeline.batches(epoch=0):
            ...
    """

    def __init__(
        self,
        source: CaptionSource,
        preproc: PreprocSpec,
        tokenizer: Tokenizer,
        *,
        batch_size: int,
        augmentation: Augmentation | None = None,
        captions: Which = "drawn",
        shuffle: bool = False,
        seed: int = 0,
        drop_remainder: bool = False,
        cache_bytes: int = CACHE_BYTES,
        workers: int | None = None,
    ) -> None:
        if captions not in ("drawn", "first", "all"):
            raise InvalidInput(f"captions are drawn, first or all, not {captions!r}")
        self.tokenizer = tokenizer
        self.augmentation = augmentation or Augmentation.none()
        self.captions = captions
        self._cache = ImageCache(source, preproc, self.augmentation, cache_bytes)
        super().__init__(
            source,
            preproc,
            self._cache,
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            drop_remainder=drop_remainder,
            workers=workers,
            log=__name__,
        )

    @property
    def steps(self) -> int:
        """Number of batches an epoch."""
        full, rest = divmod(self._entries(), self.batch_size)
        return full + (rest > 0 and not self.drop_remainder)

    def order(self, epoch: int = 0) -> np.ndarray:
        """int64 [N]: what this epoch goes through: indices into `source`; with all captions, places of captions, which
        are counted through all images."""
        if self.captions != "all":
            return super().order(epoch)
        places = np.arange(len(self._tokens))
        if self.shuffle:
            places = np.random.default_rng((self.seed, epoch, 0, _ORDER_OF_CAPTIONS)).permutation(places)
        return places[np.isin(self._image_of(places), self._usable)]

    def batch(self, epoch: int, entries: np.ndarray) -> Example:
        """What `entries` of `order` are in this epoch: images uint8 [B, H, W, 3], a caption of each, int32 [B, T].

        Raises:
            ImageError: not one of them can be read.
        """
        return self._batch(epoch, entries)[1]

    def _read_targets(self) -> None:
        source = self.source
        encoded = [self.tokenizer.encode_all(source.captions(index)) for index in range(len(source))]
        self._tokens = np.concatenate([np.zeros((0, self.tokenizer.length), np.int32), *encoded])
        # The captions of image i are at _starts[i] to _starts[i + 1].
        self._starts = np.concatenate([[0], np.cumsum([len(item) for item in encoded])]).astype(np.int64)
        if np.any(np.diff(self._starts) == 0):
            name = source.name(int(np.flatnonzero(np.diff(self._starts) == 0)[0]))
            raise InvalidInput(f"{source.split}: {name} has no caption")
        if self.augmentation.flip > 0:
            self._warn_of_sides()

    def _warn_of_sides(self) -> None:
        captions = (caption for index in self._usable.tolist() for caption in self.source.captions(index))
        told = [caption for caption in captions if _SIDES.search(caption)]
        if told:
            self._log.warning(
                "%s: images are mirrored, but %d captions say left or right, such as %r; set augmentation.flip to 0",
                self.source.split,
                len(told),
                told[0],
            )

    def _entries(self) -> int:
        if self.captions != "all":
            return len(self)
        return int((self._starts[self._usable + 1] - self._starts[self._usable]).sum())

    def _image_of(self, entries: np.ndarray) -> np.ndarray:
        if self.captions != "all":
            return entries
        return np.searchsorted(self._starts, entries, side="right") - 1

    def _example(self, epoch: int, index: int) -> Example:
        place = index
        if self.captions == "all":
            index = int(self._image_of(np.array([index]))[0])
        elif self.captions == "first":
            place = int(self._starts[index])
        else:
            first, end = self._starts[index : index + 2].tolist()
            place = int(np.random.default_rng((self.seed, epoch, index, _CAPTION)).integers(first, end))
        # Drawn anew for each caption of an image, and not the draw that chose among them.
        rng = np.random.default_rng((self.seed, epoch, index, place - int(self._starts[index]), _CAPTION))
        pixels = self._cache.finish(self._cache.get(index), rng)
        return flip_and_color(pixels, self.augmentation, rng), self._tokens[place]

    def _batch(self, epoch: int, indices: np.ndarray) -> tuple[np.ndarray, Example]:
        entries, batch = super()._batch(epoch, indices)
        return self._image_of(entries), batch

    def _join(self, indices: list[int], examples: list[Example]) -> Example:
        tokens = np.array([ids for _, ids in examples], np.int32).reshape(-1, self.tokenizer.length)
        return self._stack([pixels for pixels, _ in examples]), tokens

    def _specs(self) -> tuple[ArraySpec, ArraySpec]:
        images = ArraySpec("uint8", (None, self.preproc.height, self.preproc.width, 3))
        return images, ArraySpec("int32", (None, self.tokenizer.length))


def all_captions(source: CaptionSource) -> list[str]:
    """Every caption of a split, image by image: what a vocabulary is learned from."""
    return [caption for index in range(len(source)) for caption in source.captions(index)]
