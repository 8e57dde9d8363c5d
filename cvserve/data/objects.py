"""Holds the objects of an image: boxes, labels, and masks where they were read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cvserve.data.instance_masks import InstanceMasks


@dataclass(frozen=True, eq=False)
class Objects:
    """Holds the objects of one image.

    boxes: float32 [N, 4] x1, y1, x2, y2 in pixels of the upright image, x2 and y2 past the last pixel. labels: int32
    [N], indices into the data set's classes. ignored: bool [N], crowds and difficult objects: not trained on, and
    counted neither as right nor as wrong when they are found. areas: float32 [N], of the objects themselves where the
    data set states them, otherwise of their boxes; COCO's sizes (small, medium, large) go by it. masks: of the N
    objects, where a pipeline has read them.
    """

    boxes: np.ndarray
    labels: np.ndarray
    ignored: np.ndarray
    areas: np.ndarray
    masks: InstanceMasks | None = None

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
        """Makes objects from arrays or lists; by default nothing is ignored, and areas are those of the boxes."""
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        if areas is None:
            areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        return cls(
            boxes,
            np.asarray(labels, np.int32).reshape(-1),
            np.zeros(len(boxes), bool) if ignored is None else np.asarray(ignored, bool).reshape(-1),
            np.asarray(areas, np.float32).reshape(-1),
        )
