"""Makes batches for captioning: images, and the token ids of a caption of each."""

from __future__ import annotations

import re
from typing import Literal, Unpack

import numpy as np

from cvserve.artifact.specs import PreprocSpec
from cvserve.data.augment.augment import Augmentation, flip_and_color
from cvserve.data.pipelines.base import ArraySpec, BatchPipeline, PipelineOptions
from cvserve.data.pipelines.cache import ImageCache
from cvserve.data.source import CaptionSource
from cvserve.errors import InvalidInput
from cvserve.text import Tokenizer

# Keeps the random numbers apart from those of the other pipelines and of the order.
_CAPTION, _ORDER_OF_CAPTIONS = 5, 6

AUGMENTATION = Augmentation(flip=0.0, crop_scale=(0.8, 1.0), crop_aspect=(0.9, 1.1), saturation=0.1)
"""The augmentation after which captions are still true.

Images are not mirrored, since captions have "left" and "right"; little is cropped, since the objects that captions
name must stay visible; and hues stay.
"""

Which = Literal["drawn", "first", "all"]

_LEFT_OR_RIGHT = re.compile(r"\b(?:left|right)\b", re.IGNORECASE)

Example = tuple[np.ndarray, np.ndarray]
"""uint8 [H, W, 3] and int32 [T]."""


class CaptionPipeline(BatchPipeline[CaptionSource, Example]):
    """Makes the batches of one split for captioning: (uint8 [B, H, W, 3], int32 [B, T]).

    Order, cache, threads and images that cannot be used: see `BatchPipeline`.

    Args:
        tokenizer: turns captions into token ids; T is its length.
        captions: "drawn": each epoch shows every image once, with one of its captions at random; "first": with its
            first one; "all": an epoch shows every image with each of its captions, in random order if shuffled.
        batch_size, ...: see `PipelineOptions`; a suitable augmentation is `AUGMENTATION`.

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
        captions: Which = "drawn",
        **options: Unpack[PipelineOptions],
    ) -> None:
        if captions not in ("drawn", "first", "all"):
            raise InvalidInput(f"captions are drawn, first or all, not {captions!r}")
        self.tokenizer = tokenizer
        self.captions = captions
        super().__init__(source, preproc, log=__name__, **options)

    @property
    def steps(self) -> int:
        """Returns the number of batches in an epoch."""
        full, rest = divmod(self._entries(), self.batch_size)
        return full + (rest > 0 and not self.drop_remainder)

    def order(self, epoch: int = 0) -> np.ndarray:
        """Returns the entries in the order of this epoch, int64 [N].

        An entry is an index into `source`; with captions="all" it is the number of a caption, counted through all
        images.
        """
        if self.captions != "all":
            return super().order(epoch)
        entries = np.arange(len(self._tokens))
        if self.shuffle:
            entries = np.random.default_rng((self.seed, epoch, 0, _ORDER_OF_CAPTIONS)).permutation(entries)
        return entries[np.isin(self._image_of(entries), self._usable)]

    def batch(self, epoch: int, entries: np.ndarray) -> Example:
        """Returns images as this epoch shows them, uint8 [B, H, W, 3], and a caption of each, int32 [B, T].

        Args:
            entries: of `order(epoch)`.

        Raises:
            ImageError: none of the images can be read.
        """
        return self._batch(epoch, entries)[1]

    def _open_cache(self, limit: int) -> ImageCache:
        self._cache = ImageCache(self.source, self.preproc, self.augmentation, limit)
        return self._cache

    def _read_targets(self) -> None:
        source = self.source
        encoded = [self.tokenizer.encode_all(source.captions(index)) for index in range(len(source))]
        self._tokens = np.concatenate([np.zeros((0, self.tokenizer.length), np.int32), *encoded])
        # The captions of image i are those from _starts[i] to _starts[i + 1].
        self._starts = np.concatenate([[0], np.cumsum([len(item) for item in encoded])]).astype(np.int64)
        if np.any(np.diff(self._starts) == 0):
            name = source.name(int(np.flatnonzero(np.diff(self._starts) == 0)[0]))
            raise InvalidInput(f"{source.split}: {name} has no caption")
        if self.augmentation.flip > 0:
            self._warn_of_mirroring()

    def _warn_of_mirroring(self) -> None:
        captions = (caption for index in self._usable.tolist() for caption in self.source.captions(index))
        affected = [caption for caption in captions if _LEFT_OR_RIGHT.search(caption)]
        if affected:
            self._log.warning(
                "%s: images are mirrored, but %d captions say left or right, such as %r; set augmentation.flip to 0",
                self.source.split,
                len(affected),
                affected[0],
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
        caption = index
        if self.captions == "all":
            index = int(self._image_of(np.array([index]))[0])
        elif self.captions == "first":
            caption = int(self._starts[index])
        else:
            first, end = self._starts[index : index + 2].tolist()
            caption = int(np.random.default_rng((self.seed, epoch, index, _CAPTION)).integers(first, end))
        # Each caption of an image gets its own random numbers, other than those that chose the caption.
        rng = np.random.default_rng((self.seed, epoch, index, caption - int(self._starts[index]), _CAPTION))
        pixels = self._cache.finish(self._cache.get(index), rng)
        return flip_and_color(pixels, self.augmentation, rng), self._tokens[caption]

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
    """Returns every caption of a split, image by image, to learn a vocabulary from."""
    return [caption for index in range(len(source)) for caption in source.captions(index)]
