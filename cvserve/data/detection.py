"""Pictures with objects to batches: as `ImagePipeline`, with boxes that move with the pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cvserve.artifact.specs import PreprocSpec
from cvserve.data.augment import Augmentation
from cvserve.data.augment_boxes import Example, augment_example, mosaic
from cvserve.data.objects import Objects
from cvserve.data.pipeline import CACHE_BYTES, ImagePipeline
from cvserve.errors import ImageError, InvalidInput
from cvserve.preproc import Geometry

if TYPE_CHECKING:
    import tensorflow as tf

# Apart from the draws of `ImagePipeline`.
_DETECTION = 3


class DetectionPipeline(ImagePipeline):
    """The batches of one split for detection: (uint8 [B, H, W, 3], (float32 [B, M, 4], int32 [B, M])).

    Boxes are x1, y1, x2, y2 in pixels of the network's input; M is the largest number of objects in the batch, and -1
    the label of what fills up. Objects that the data set ignores are left out. Otherwise as `ImagePipeline`.

    Args:
        epochs: of the whole training: mosaics end before its last ones. None: they do not.
    """

    def __init__(
        self,
        source: Any,
        preproc: PreprocSpec,
        *,
        batch_size: int,
        augmentation: Augmentation | None = None,
        shuffle: bool = False,
        seed: int = 0,
        epochs: int | None = None,
        drop_remainder: bool = False,
        cache_bytes: int = CACHE_BYTES,
        workers: int | None = None,
    ) -> None:
        wanted = augmentation or Augmentation.none()
        self._vary = augmentation is not None
        self._plain_from = None if epochs is None else round(epochs * (1 - wanted.plain_share))
        super().__init__(
            source,
            preproc,
            batch_size=batch_size,
            # The crops of classification would cut objects off.
            augmentation=wanted.model_copy(update={"crop_scale": None}),
            shuffle=shuffle,
            seed=seed,
            drop_remainder=drop_remainder,
            cache_bytes=cache_bytes,
            workers=workers,
        )

    def geometry(self, index: int) -> Geometry:
        """Between the upright original of a picture and the network's input, without augmentation."""
        return self._cache.geometry(index)

    def objects(self, index: int) -> Objects:
        """What the data set says is in the picture, in pixels of the original."""
        found: Objects = self.source.objects(index)
        return found

    def example(self, index: int) -> Example:
        """A picture as it is served, with its boxes."""
        pixels = self._cache.get(index)
        objects = self.objects(index)
        used = ~objects.ignored
        boxes = self.geometry(index).to_input(objects.boxes[used])
        size = (self.preproc.width, self.preproc.height)
        return pixels, np.clip(boxes, 0, size * 2).astype(np.float32), objects.labels[used]

    def batch(self, epoch: int, indices: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """Pictures as this epoch shows them, with their boxes.

        Raises:
            ImageError: not one of them can be read.
        """
        shown: list[Example] = []
        failure: ImageError | None = None
        for index in indices.tolist():
            try:
                shown.append(self._example(epoch, index))
            except ImageError as error:
                failure = error
                self._report_late(index, error)
        if failure is not None and not shown:
            raise failure
        most = max((len(labels) for _, _, labels in shown), default=0)
        boxes = np.zeros((len(shown), most, 4), np.float32)
        labels = np.full((len(shown), most), -1, np.int32)
        for row, (_, own_boxes, own_labels) in enumerate(shown):
            boxes[row, : len(own_labels)], labels[row, : len(own_labels)] = own_boxes, own_labels
        return np.stack([pixels for pixels, _, _ in shown]), (boxes, labels)

    def _example(self, epoch: int, index: int) -> Example:
        example = self.example(index)
        if not self._vary:
            return example
        rng = np.random.default_rng((self.seed, epoch, index, _DETECTION))
        with_mosaic = self._plain_from is None or epoch < self._plain_from
        if with_mosaic and rng.random() < self.augmentation.mosaic:
            others = [self.example(int(other)) for other in rng.choice(self._usable, size=3)]
            return mosaic([example, *others], self.augmentation, self.preproc.fill, rng)
        return augment_example(example, self.augmentation, self.preproc.fill, rng)

    def _read_targets(self) -> None:
        """Every class must be somewhere in a training split."""
        there = {int(label) for index in self._usable.tolist() for label in self.objects(index).labels}
        if self.source.split == "train":
            for label, name in enumerate(self.source.classes):
                if label not in there:
                    raise InvalidInput(f"train: no picture that can be used has an object of class {name}")

    def _tensors(self, make: Any, step: tf.Tensor) -> Any:
        import tensorflow as tf

        def flat(number: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            images, (boxes, labels) = make(number)
            return images, boxes, labels

        images, boxes, labels = tf.numpy_function(flat, [step], (tf.uint8, tf.float32, tf.int32), stateful=False)
        images.set_shape((None, self.preproc.height, self.preproc.width, 3))
        boxes.set_shape((None, None, 4))
        labels.set_shape((None, None))
        return images, (boxes, labels)
