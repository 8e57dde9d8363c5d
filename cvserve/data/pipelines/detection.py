"""Images with objects to batches: as `ImagePipeline`, with boxes that move with the pixels."""

from __future__ import annotations

from typing import cast

import numpy as np

from cvserve.artifact.specs import PreprocSpec
from cvserve.data.augment.augment import Augmentation
from cvserve.data.augment.boxes import Example, Labelled, augment_example, mosaic, moved_shapes
from cvserve.data.augment.random_placement import as_served, recolored
from cvserve.data.augment.shapes import SIDE, Shapes
from cvserve.data.objects import DetectionSource, InstanceSource, Objects
from cvserve.data.pipelines.base import CACHE_BYTES, ArraySpec, BatchPipeline
from cvserve.data.pipelines.boxed_cache import BoxedImageCache
from cvserve.errors import ImageError, InvalidInput
from cvserve.preproc import Geometry

# Apart from the draws of `ImagePipeline` and of the order.
_DETECTION = 3

Targets = tuple[np.ndarray, ...]
"""boxes float32 [B, M, 4] and labels int32 [B, M]; with masks also frames float32 [B, M, 4] and grids uint8
[B, M, R, R], see `cvserve.data.augment.shapes`."""


class DetectionPipeline(BatchPipeline[DetectionSource, Example]):
    """The batches of one split for detection: (uint8 [B, H, W, 3], (float32 [B, M, 4], int32 [B, M])).

    Boxes are x1, y1, x2, y2 in pixels of the network's input; M is the largest number of objects in the batch, and -1
    the label of what fills up. Objects that the data set ignores are left out. Order, cache, threads and images that
    cannot be used are as in `ImagePipeline`; an image whose annotations say another size than it has cannot be used.

    With masks the targets are four, see `Targets`; then an image with an object whose mask cannot be used is left out.

    Args:
        source: an `InstanceSource`, where there are to be masks.
        augmentation: None shows images as `preproc.preprocess` gives them, byte for byte.
        epochs: as of `plan`. None: mosaics do not end.
        masks: of the objects too.

    Raises:
        InvalidInput: an option out of range, a training split without any object, or a source without masks.
    """

    def __init__(
        self,
        source: DetectionSource,
        preproc: PreprocSpec,
        *,
        batch_size: int,
        augmentation: Augmentation | None = None,
        shuffle: bool = False,
        seed: int = 0,
        epochs: int | None = None,
        masks: bool = False,
        drop_remainder: bool = False,
        cache_bytes: int = CACHE_BYTES,
        workers: int | None = None,
    ) -> None:
        self.augmentation = augmentation or Augmentation.none()
        self._plain_from: int | None = None
        if epochs is not None:
            self.plan(epochs)
        self._with_masks = masks
        instances = cast(InstanceSource, source) if masks else None
        self._cache = BoxedImageCache(source, preproc, self.augmentation, cache_bytes, masks=instances)
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

    def plan(self, epochs: int) -> None:
        """epochs: of the whole training. Mosaics end before its last ones, `Augmentation.plain_share` of them."""
        self._plain_from = round(epochs * (1 - self.augmentation.plain_share))

    def geometry(self, index: int) -> Geometry:
        """From the upright original of an image to the network's input, as in serving.

        Raises:
            ImageError: the image cannot be read.
        """
        return self._cache.geometry(index)

    def objects(self, index: int) -> Objects:
        """What the data set says is in the image, in pixels of the original."""
        return self._cache.objects(index)

    def batch(self, epoch: int, indices: np.ndarray) -> tuple[np.ndarray, Targets]:
        """Images as this epoch shows them, and their boxes and labels.

        Raises:
            ImageError: not one of them can be read.
        """
        images, targets = self._batch(epoch, indices)[1]
        return images, targets

    def _read_targets(self) -> None:
        there = {label for index in self._usable.tolist() for label in self.objects(index).labels.tolist()}
        if self.source.split != "train":
            return
        if not there:
            raise InvalidInput(f"train: not one of the {len(self)} images that can be used has an object")
        missing = [name for label, name in enumerate(self.source.classes) if label not in there]
        if missing:
            shown = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
            self._log.warning("train: no image that can be used has an object of class %s", shown)

    def _example(self, epoch: int, index: int) -> Example:
        example = self._labelled(index)
        rng = np.random.default_rng((self.seed, epoch, index, _DETECTION))
        if not self.augmentation.moves:
            return self._unmoved(example, rng)
        with_mosaic = self._plain_from is None or epoch < self._plain_from
        if rng.random() < self.augmentation.mosaic and with_mosaic:
            return mosaic([example, *self._partners(rng)], self.preproc, self.augmentation, rng)
        return augment_example(example, self.preproc, self.augmentation, rng)

    def _labelled(self, index: int) -> Labelled:
        return self._cache.get(index), self._cache.objects(index)

    def _partners(self, rng: np.random.Generator) -> list[Labelled]:
        """Three images by chance; one that cannot be read leaves its place to the next."""
        found: list[Labelled] = []
        for other in rng.choice(self._usable, size=3).tolist():
            try:
                found.append(self._labelled(other))
            except ImageError as error:
                self._report_late(other, error)
        return found

    def _unmoved(self, example: Labelled, rng: np.random.Generator) -> Example:
        """As in serving, apart from the colours."""
        image, objects = example
        used = ~objects.ignored
        placement = as_served(image, self.preproc)
        boxes, kept = placement.visible(objects.boxes[used], 0.0, 0.0)
        shapes = moved_shapes(objects, used, kept, placement)
        return Example(recolored(image.pixels, self.augmentation, rng), boxes, objects.labels[used][kept], shapes)

    def _join(self, indices: list[int], examples: list[Example]) -> tuple[np.ndarray, Targets]:
        most = max((len(example.labels) for example in examples), default=0)
        boxes = np.zeros((len(examples), most, 4), np.float32)
        labels = np.full((len(examples), most), -1, np.int32)
        for row, example in enumerate(examples):
            count = len(example.labels)
            boxes[row, :count], labels[row, :count] = example.boxes, example.labels
        images = self._stack([example.pixels for example in examples])
        return images, (boxes, labels, *self._join_shapes(examples, most)) if self._with_masks else (boxes, labels)

    def _join_shapes(self, examples: list[Example], most: int) -> tuple[np.ndarray, np.ndarray]:
        frames = np.zeros((len(examples), most, 4), np.float32)
        grids = np.zeros((len(examples), most, SIDE, SIDE), np.uint8)
        for row, example in enumerate(examples):
            # A mosaic of images without objects has none.
            shapes = example.shapes or Shapes.none()
            frames[row, : len(shapes)], grids[row, : len(shapes)] = shapes.frames, shapes.grids
        return frames, grids

    def _specs(self) -> tuple[ArraySpec, tuple[ArraySpec, ...]]:
        images = ArraySpec("uint8", (None, self.preproc.height, self.preproc.width, 3))
        boxes, labels = ArraySpec("float32", (None, None, 4)), ArraySpec("int32", (None, None))
        if not self._with_masks:
            return images, (boxes, labels)
        return images, (boxes, labels, boxes, ArraySpec("uint8", (None, None, SIDE, SIDE)))
