"""Makes batches for detection: images, and boxes that move with the pixels."""

from __future__ import annotations

from dataclasses import replace
from typing import Unpack, cast

import numpy as np

from cvserve.artifact.specs import PreprocSpec
from cvserve.data.augment.augment import Augmentation
from cvserve.data.augment.boxes import Example, Labelled, augment_example, mosaic, moved_masks
from cvserve.data.augment.placement import SizedImage
from cvserve.data.augment.random_placement import as_served, recolored
from cvserve.data.instance_masks import GRID_SIZE, InstanceMasks
from cvserve.data.objects import Objects
from cvserve.data.pipelines.base import ArraySpec, BatchPipeline, PipelineOptions
from cvserve.data.pipelines.sized_cache import SizedImageCache
from cvserve.data.problems import few_names
from cvserve.data.source import DetectionSource, InstanceSource, StatesSizes
from cvserve.errors import ImageError, InvalidInput
from cvserve.preproc import Geometry

# Keeps the random numbers apart from those of the other pipelines and of the order.
_DETECTION = 3

Targets = tuple[np.ndarray, ...]
"""Boxes float32 [B, M, 4] and labels int32 [B, M]; with masks also frames float32 [B, M, 4] and grids uint8
[B, M, R, R], see `cvserve.data.instance_masks`."""


class BoxedImageCache(SizedImageCache[SizedImage]):
    """Caches images with their geometry, and their objects.

    Args:
        masks: the source of the objects' masks, which are read too; they do not count for the limit, 3 kB per object.
    """

    def __init__(
        self,
        source: DetectionSource,
        spec: PreprocSpec,
        augmentation: Augmentation,
        limit: int,
        *,
        masks: InstanceSource | None = None,
    ) -> None:
        super().__init__(source, spec, augmentation, limit)
        self._source = source
        self._masks = masks
        self._objects: dict[int, Objects] = {}

    def objects(self, index: int) -> Objects:
        """Returns the objects in the image, in pixels of the original.

        Raises:
            ImageError: its masks are read and cannot be used.
        """
        objects = self._objects.get(index)
        if objects is None:
            objects = self._source.objects(index)
            if self._masks is not None:
                objects = replace(objects, masks=InstanceMasks.of(self._masks.object_masks(index)))
            self._objects[index] = objects
        return objects

    def _load(self, index: int) -> SizedImage:
        data, name, size = self._read(index)
        self.objects(index)
        stated = self._source.size(index) if isinstance(self._source, StatesSizes) else None
        if stated is not None and stated != size:
            raise ImageError(
                name, f"is {size[0]} x {size[1]} pixels upright, but its annotations are of {stated[0]} x {stated[1]}"
            )
        return self._sized(data, name, size)


class DetectionPipeline(BatchPipeline[DetectionSource, Example]):
    """Makes the batches of one split for detection: (uint8 [B, H, W, 3], (float32 [B, M, 4], int32 [B, M])).

    Boxes are x1, y1, x2, y2 in pixels of the network's input; M is the largest number of objects in the batch, and -1
    the label of padding. Objects that the data set ignores are left out. Order, cache, threads and images that cannot
    be used: see `BatchPipeline`; an image whose annotations state another size than it has cannot be used either.

    With masks the targets are four, see `Targets`; then an image with an object whose mask cannot be used is left out.

    Args:
        source: an `InstanceSource`, where there are to be masks.
        epochs: of the whole training, see `plan`; None: mosaics are shown in all epochs.
        masks: reads the masks of the objects too.
        batch_size, ...: see `PipelineOptions`.

    Raises:
        InvalidInput: an option out of range, a training split without any object, or a source without masks.
    """

    def __init__(
        self,
        source: DetectionSource,
        preproc: PreprocSpec,
        *,
        epochs: int | None = None,
        masks: bool = False,
        **options: Unpack[PipelineOptions],
    ) -> None:
        self._epochs = epochs
        self._with_masks = masks
        super().__init__(source, preproc, log=__name__, **options)

    def plan(self, epochs: int) -> None:
        """Sets how many epochs the whole training has: the last ones, `Augmentation.plain_share`, have no mosaics."""
        self._epochs = epochs

    def geometry(self, index: int) -> Geometry:
        """Returns the geometry from the upright original of an image to the network's input, as in serving.

        Raises:
            ImageError: the image cannot be read.
        """
        return self._cache.geometry(index)

    def objects(self, index: int) -> Objects:
        """Returns the objects in the image, in pixels of the original."""
        return self._cache.objects(index)

    def batch(self, epoch: int, indices: np.ndarray) -> tuple[np.ndarray, Targets]:
        """Returns images as this epoch shows them, and their boxes and labels.

        Raises:
            ImageError: none of them can be read.
        """
        images, targets = self._batch(epoch, indices)[1]
        return images, targets

    def _open_cache(self, limit: int) -> BoxedImageCache:
        instances = cast(InstanceSource, self.source) if self._with_masks else None
        self._cache = BoxedImageCache(self.source, self.preproc, self.augmentation, limit, masks=instances)
        return self._cache

    def _read_targets(self) -> None:
        present = {label for index in self._usable.tolist() for label in self.objects(index).labels.tolist()}
        if self.source.split != "train":
            return
        if not present:
            raise InvalidInput(f"train: not one of the {len(self)} images that can be used has an object")
        missing = [name for label, name in enumerate(self.source.classes) if label not in present]
        if missing:
            self._log.warning("train: no image that can be used has an object of class %s", few_names(missing))

    def _example(self, epoch: int, index: int) -> Example:
        example = self._labelled(index)
        rng = np.random.default_rng((self.seed, epoch, index, _DETECTION))
        if not self.augmentation.moves:
            return self._unmoved(example, rng)
        with_mosaics = self._epochs is None or epoch < round(self._epochs * (1 - self.augmentation.plain_share))
        if rng.random() < self.augmentation.mosaic and with_mosaics:
            return mosaic([example, *self._partners(rng)], self.preproc, self.augmentation, rng)
        return augment_example(example, self.preproc, self.augmentation, rng)

    def _labelled(self, index: int) -> Labelled:
        return self._cache.get(index), self._cache.objects(index)

    def _partners(self, rng: np.random.Generator) -> list[Labelled]:
        """Returns three images at random, or fewer where one of them cannot be read."""
        found: list[Labelled] = []
        for other in rng.choice(self._usable, size=3).tolist():
            try:
                found.append(self._labelled(other))
            except ImageError as error:
                self._report_late(other, error)
        return found

    def _unmoved(self, example: Labelled, rng: np.random.Generator) -> Example:
        """Returns an example as in serving, apart from the colours."""
        image, objects = example
        used = ~objects.ignored
        placement = as_served(image, self.preproc)
        boxes, visible = placement.visible(objects.boxes[used], 0.0, 0.0)
        masks = moved_masks(objects, used, visible, placement)
        return Example(recolored(image.pixels, self.augmentation, rng), boxes, objects.labels[used][visible], masks)

    def _join(self, indices: list[int], examples: list[Example]) -> tuple[np.ndarray, Targets]:
        most = max((len(example.labels) for example in examples), default=0)
        boxes = np.zeros((len(examples), most, 4), np.float32)
        labels = np.full((len(examples), most), -1, np.int32)
        for row, example in enumerate(examples):
            count = len(example.labels)
            boxes[row, :count], labels[row, :count] = example.boxes, example.labels
        images = self._stack([example.pixels for example in examples])
        return images, (boxes, labels, *self._join_masks(examples, most)) if self._with_masks else (boxes, labels)

    def _join_masks(self, examples: list[Example], most: int) -> tuple[np.ndarray, np.ndarray]:
        frames = np.zeros((len(examples), most, 4), np.float32)
        grids = np.zeros((len(examples), most, GRID_SIZE, GRID_SIZE), np.uint8)
        for row, example in enumerate(examples):
            # A mosaic of images without objects has none.
            masks = example.masks or InstanceMasks.none()
            frames[row, : len(masks)], grids[row, : len(masks)] = masks.frames, masks.grids
        return frames, grids

    def _specs(self) -> tuple[ArraySpec, tuple[ArraySpec, ...]]:
        images = ArraySpec("uint8", (None, self.preproc.height, self.preproc.width, 3))
        boxes, labels = ArraySpec("float32", (None, None, 4)), ArraySpec("int32", (None, None))
        if not self._with_masks:
            return images, (boxes, labels)
        return images, (boxes, labels, boxes, ArraySpec("uint8", (None, None, GRID_SIZE, GRID_SIZE)))
