"""The objects in an image, as data sets for detection know them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cvserve.data.augment.shapes import Shapes
from cvserve.data.source import Source
from cvserve.postproc.object_masks import ObjectMasks


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects of one image.

    boxes: float32 [N, 4] x1, y1, x2, y2 in pixels of the upright image, x2 and y2 past the last pixel. labels: int32
    [N], indices into the data set's classes. ignored: bool [N], crowds and difficult objects: not trained on, and
    neither right nor wrong when found. areas: float32 [N], of the objects themselves where the data set says them,
    otherwise of their boxes; COCO's sizes (small, medium, large) go by it. shapes: the masks of the N, where a pipeline
    has read them.
    """

    boxes: np.ndarray
    labels: np.ndarray
    ignored: np.ndarray
    areas: np.ndarray
    shapes: Shapes | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of(
        cls,
        boxes: np.ndarray | Sequence[Sequence[float]],
        labels: np.ndarray | Sequence[int],
        ignored: np.ndarray | Sequence[bool] | None = None,
        areas: np.ndarray | Sequence[float] | None = None,
    ) -> Objects:
        """From anything that is like arrays; nothing is ignored, and areas are those of the boxes, unless given."""
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        if areas is None:
            areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        return cls(
            boxes,
            np.asarray(labels, np.int32).reshape(-1),
            np.zeros(len(boxes), bool) if ignored is None else np.asarray(ignored, bool).reshape(-1),
            np.asarray(areas, np.float32).reshape(-1),
        )


class DetectionSource(Source, Protocol):
    """One split of a data set for detection."""

    def objects(self, index: int) -> Objects:
        """What is in the image."""

    def image_id(self, index: int) -> int:
        """The image's number in COCO files: the data set's own, or index + 1. Unique in the split."""

    @property
    def category_ids(self) -> tuple[int, ...]:
        """The number of each class in COCO files: the data set's own, or 1 to C."""


class InstanceSource(DetectionSource, Protocol):
    """One split of a data set for instance segmentation: objects with masks."""

    def object_masks(self, index: int) -> ObjectMasks:
        """The masks of `objects(index)`, in the same order and the image's size.

        Raises:
            ImageError: one of them cannot be used: the image is left out.
            InvalidInput: the data set has no masks.
        """
