"""The masks of objects as training takes them: each in a frame of its own, all of one size, so that they move with
their frames and are batched like boxes."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from cvserve.postproc.object_masks import ObjectMasks

SIDE = 56
"""Cells a side: twice what mask_rcnn answers, so that little is lost where a region is smaller than its object."""

_ALL = 255


@dataclass(frozen=True, eq=False)
class Shapes:
    """The masks of N objects.

    frames: float32 [N, 4] x1, y1, x2, y2, pixels; outside of it there is nothing of the object. Frames may lie partly
    outside of the image. grids: uint8 [N, SIDE, SIDE], how much of each cell of the frame is the object's, 255 all of
    it.
    """

    frames: np.ndarray
    grids: np.ndarray

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, chosen: np.ndarray) -> Shapes:
        """Those that a boolean array [N] takes."""
        return Shapes(self.frames[chosen], self.grids[chosen])

    @classmethod
    def none(cls) -> Shapes:
        """Of no object."""
        return cls(np.zeros((0, 4), np.float32), np.zeros((0, SIDE, SIDE), np.uint8))

    @classmethod
    def of(cls, masks: ObjectMasks) -> Shapes:
        """From masks; the frames are tight. A mask without a pixel has an empty frame."""
        shapes = cls(np.zeros((len(masks), 4), np.float32), np.zeros((len(masks), SIDE, SIDE), np.uint8))
        for index in range(len(masks)):
            left, top, crop = masks.crop(index)
            height, width = crop.shape
            if crop.size:
                shapes.frames[index] = left, top, left + width, top + height
                covered = _resampled(height) @ crop.astype(np.float32) @ _resampled(width).T
                shapes.grids[index] = np.rint(covered * _ALL)
        return shapes


def joined(parts: list[Shapes]) -> Shapes:
    """The shapes of several images on one canvas."""
    if not parts:
        return Shapes.none()
    return Shapes(np.concatenate([part.frames for part in parts]), np.concatenate([part.grids for part in parts]))


@functools.lru_cache(maxsize=512)
def _resampled(length: int) -> np.ndarray:
    """float32 [SIDE, length]: a line of pixels as one of SIDE cells; their means where it has more pixels than cells,
    otherwise what lies bilinearly between their centres."""
    if length <= SIDE:
        places = np.clip((np.arange(SIDE) + 0.5) * (length / SIDE) - 0.5, 0, length - 1)
        return np.maximum(1 - np.abs(places[:, None] - np.arange(length)), 0).astype(np.float32)
    edges = np.arange(SIDE + 1) * (length / SIDE)
    pixels = np.arange(length)
    shared = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (np.maximum(shared, 0) * (SIDE / length)).astype(np.float32)
