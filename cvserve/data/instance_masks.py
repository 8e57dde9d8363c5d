"""Holds the masks of objects as training takes them: each in a box of its own, all of one size.

So they move with their boxes, and are batched like boxes.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from cvserve.postproc.object_masks import ObjectMasks

GRID_SIZE = 56
"""Cells per side: twice what mask_rcnn predicts, so that little is lost where a region is smaller than its object."""

_FULL = 255


@dataclass(frozen=True, eq=False)
class InstanceMasks:
    """Holds the masks of N objects.

    frames: float32 [N, 4] x1, y1, x2, y2 in pixels; outside of its frame there is nothing of an object. Frames may lie
    partly outside of the image. grids: uint8 [N, GRID_SIZE, GRID_SIZE], how much of each cell of the frame the object
    covers; 255 is all of it.
    """

    frames: np.ndarray
    grids: np.ndarray

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, chosen: np.ndarray) -> InstanceMasks:
        """Returns the masks that a boolean array [N] selects."""
        return InstanceMasks(self.frames[chosen], self.grids[chosen])

    @classmethod
    def none(cls) -> InstanceMasks:
        """Returns the masks of no object, N = 0."""
        return cls(np.zeros((0, 4), np.float32), np.zeros((0, GRID_SIZE, GRID_SIZE), np.uint8))

    @classmethod
    def of(cls, masks: ObjectMasks) -> InstanceMasks:
        """Converts masks of the image's size; the frames are tight. A mask without a pixel has an empty frame."""
        result = cls(np.zeros((len(masks), 4), np.float32), np.zeros((len(masks), GRID_SIZE, GRID_SIZE), np.uint8))
        for index in range(len(masks)):
            left, top, crop = masks.crop(index)
            height, width = crop.shape
            if crop.size:
                result.frames[index] = left, top, left + width, top + height
                covered = _resampling(height) @ crop.astype(np.float32) @ _resampling(width).T
                result.grids[index] = np.rint(covered * _FULL)
        return result


def joined(parts: list[InstanceMasks]) -> InstanceMasks:
    """Joins the masks of several images that lie on one canvas."""
    if not parts:
        return InstanceMasks.none()
    return InstanceMasks(
        np.concatenate([part.frames for part in parts]), np.concatenate([part.grids for part in parts])
    )


@functools.lru_cache(maxsize=512)
def _resampling(length: int) -> np.ndarray:
    """Returns the matrix, float32 [GRID_SIZE, length], that resamples a line of pixels to GRID_SIZE cells.

    It takes the mean where there are more pixels than cells, and interpolates bilinearly between pixel centres
    otherwise.
    """
    if length <= GRID_SIZE:
        positions = np.clip((np.arange(GRID_SIZE) + 0.5) * (length / GRID_SIZE) - 0.5, 0, length - 1)
        return np.maximum(1 - np.abs(positions[:, None] - np.arange(length)), 0).astype(np.float32)
    edges = np.arange(GRID_SIZE + 1) * (length / GRID_SIZE)
    pixels = np.arange(length)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (np.maximum(overlap, 0) * (GRID_SIZE / length)).astype(np.float32)
