"""Puts an image, turned and scaled, into a window of a canvas, and its boxes with it: the exact part of augmentation.

An image is cropped at whole pixels, resized by `preproc.resize_to` as in serving, and pasted at whole pixels. The map
of the boxes is that of the pixels after all rounding, so that box and object never part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from cvserve.data.instance_masks import InstanceMasks
from cvserve.preproc import Geometry, resize_to

_TURNS = {1: cv2.ROTATE_90_CLOCKWISE, 2: cv2.ROTATE_180, 3: cv2.ROTATE_90_COUNTERCLOCKWISE}

Rectangle = tuple[int, int, int, int]
"""Left, top, right, bottom, in whole pixels."""

Span = tuple[tuple[int, int], tuple[int, int]]
"""(first, past the last) pixel of an image, and where they come to lie: (first, past the last) of the canvas."""


@dataclass(frozen=True)
class SizedImage:
    """A decoded image that may have been shrunk. pixels: uint8 RGB [h, w, 3]. geometry: from the original to it."""

    pixels: np.ndarray
    geometry: Geometry

    @property
    def nbytes(self) -> int:
        """Bytes of the pixels."""
        return self.pixels.nbytes


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways to lay an image: mirrored left and right or not, then turned clockwise by quarters."""

    mirrored: bool = False
    quarters: int = 0

    def size(self, width: float, height: float) -> tuple[float, float]:
        """Width and height after it."""
        return (height, width) if self.quarters % 2 else (width, height)

    def boxes(self, boxes: np.ndarray, width: float, height: float) -> np.ndarray:
        """Boxes float64 [N, 4] of an image of width x height, where they are after it."""
        x1, y1, x2, y2 = np.asarray(boxes, np.float64).reshape(-1, 4).T
        if self.mirrored:
            x1, x2 = width - x2, width - x1
        for _ in range(self.quarters % 4):
            x1, y1, x2, y2 = height - y2, x1, height - y1, x2
            width, height = height, width
        return np.stack([x1, y1, x2, y2], axis=1)

    def undone(self, rectangle: Rectangle, width: int, height: int) -> Rectangle:
        """A rectangle of the laid image, where it is in the image of width x height before."""
        laid = self.size(width, height)
        back = Orientation(quarters=-self.quarters % 4).boxes(np.array([rectangle]), *laid)
        left, top, right, bottom = Orientation(self.mirrored).boxes(back, width, height)[0].astype(int).tolist()
        return left, top, right, bottom

    def pixels(self, pixels: np.ndarray) -> np.ndarray:
        """[H, W] or [H, W, 3], laid."""
        if self.mirrored:
            pixels = cv2.flip(pixels, 1)
        return cv2.rotate(pixels, _TURNS[self.quarters % 4]) if self.quarters % 4 else pixels

    def grids(self, grids: np.ndarray) -> np.ndarray:
        """[N, S, S], each laid."""
        if self.mirrored:
            grids = grids[:, :, ::-1]
        return np.rot90(grids, -self.quarters % 4, axes=(1, 2))


@dataclass(frozen=True)
class Placement:
    """How an image comes onto a canvas: canvas = laid original * scale + offset, cut off at the window.

    width, height: of the original.
    """

    width: int
    height: int
    orientation: Orientation
    scale: tuple[float, float]
    offset: tuple[float, float]
    window: Rectangle

    def visible(self, boxes: np.ndarray, least_share: float, least_side: float) -> tuple[np.ndarray, np.ndarray]:
        """Boxes of the original on the canvas.

        Args:
            boxes: [N, 4]. least_share: of a box's area that must be seen. least_side: in pixels of the canvas, of what
                is seen.

        Returns:
            float32 [K, 4] of the K boxes that can be seen, and bool [N] which they are.
        """
        moved = self.moved(boxes)
        seen = np.clip(moved, self.window[:2] * 2, self.window[2:] * 2)
        sides, whole = seen[:, 2:] - seen[:, :2], moved[:, 2:] - moved[:, :2]
        kept = (sides.min(axis=1, initial=np.inf) >= least_side) & (
            sides.prod(axis=1) >= least_share * whole.prod(axis=1)
        )
        kept &= sides.min(axis=1, initial=np.inf) > 0
        return seen[kept].astype(np.float32), kept

    def moved(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes [N, 4] of the original where they come to lie, also beyond the window: float64 [N, 4]."""
        laid = self.orientation.boxes(boxes, self.width, self.height)
        return laid * (*self.scale, *self.scale) + (*self.offset, *self.offset)

    def moved_masks(self, masks: InstanceMasks) -> InstanceMasks:
        """InstanceMasks of the original where they come to lie, laid as the image is."""
        return InstanceMasks(self.moved(masks.frames).astype(np.float32), self.orientation.grids(masks.grids))

    def settled(self, image: SizedImage) -> Placement:
        """The same place after all rounding, as `draw` draws the image; the window is what the image fills."""
        spans = self._spans(image)
        if spans is None:
            return replace(self, window=(*self.window[:2], *self.window[:2]))
        scale, offset = [], []
        for ((start, end), (new_start, new_end)), kept in zip(spans, self._kept_scale(image), strict=True):
            step = (new_end - new_start) / (end - start)
            scale.append(step * kept)
            offset.append(new_start - start * step)
        (_, (left, right)), (_, (top, bottom)) = spans
        return replace(
            self, scale=(scale[0], scale[1]), offset=(offset[0], offset[1]), window=(left, top, right, bottom)
        )

    def draw(self, image: SizedImage, canvas: np.ndarray, interpolation: str) -> None:
        """Draws the image onto the canvas, uint8 RGB [H, W, 3]; nothing where it lies beside its window."""
        self._draw(
            image.pixels, image, canvas, lambda crop, width, height: resize_to(crop, width, height, interpolation)
        )

    def draw_labels(self, labels: np.ndarray, image: SizedImage, canvas: np.ndarray) -> None:
        """Draws the image's label map just as `draw` draws its pixels, but never mixes labels.

        Args:
            labels: uint8 [h, w], of the same size as the image's pixels. canvas: uint8 [H, W].
        """
        self._draw(labels, image, canvas, nearest)

    def _draw(
        self,
        values: np.ndarray,
        image: SizedImage,
        canvas: np.ndarray,
        resized: Callable[[np.ndarray, int, int], np.ndarray],
    ) -> None:
        spans = self._spans(image)
        if spans is None:
            return
        ((from_x, to_x), (from_y, to_y)), (height, width) = spans, image.pixels.shape[:2]
        left, top, right, bottom = self.orientation.undone((from_x[0], from_y[0], from_x[1], from_y[1]), width, height)
        new_width, new_height = self.orientation.size(to_x[1] - to_x[0], to_y[1] - to_y[0])
        crop = np.ascontiguousarray(values[top:bottom, left:right])
        canvas[to_y[0] : to_y[1], to_x[0] : to_x[1]] = self.orientation.pixels(
            resized(crop, int(new_width), int(new_height))
        )

    def _kept_scale(self, image: SizedImage) -> tuple[float, float]:
        """How many pixels of the laid image, as it is kept, an original pixel is."""
        return self.orientation.size(image.geometry.scale_x, image.geometry.scale_y)

    def _spans(self, image: SizedImage) -> tuple[Span, Span] | None:
        """What is seen across and down; None where nothing is."""
        height, width = image.pixels.shape[:2]
        laid, kept_scale = self.orientation.size(width, height), self._kept_scale(image)
        across, down = (
            _span(
                int(laid[axis]),
                self.scale[axis] / kept_scale[axis],
                self.offset[axis],
                self.window[axis],
                self.window[axis + 2],
            )
            for axis in (0, 1)
        )
        return None if across is None or down is None else (across, down)


def nearest(labels: np.ndarray, width: int, height: int) -> np.ndarray:
    """A label map [h, w] as [height, width]: each pixel has the label of the pixel in which its centre lies."""
    rows, columns = (
        ((np.arange(new) + 0.5) * (old / new)).astype(np.intp)
        for new, old in zip((height, width), labels.shape, strict=True)
    )
    return np.ascontiguousarray(labels[:, columns][rows])


def _span(length: int, step: float, offset: float, start: int, end: int) -> Span | None:
    """Which pixels of a row are seen, and where.

    Args:
        length: of the source. step: canvas pixels a source pixel. offset: of the source's begin on the canvas.
        start, end: of the window.
    """
    new_start, new_end = round(max(start, offset)), round(min(end, offset + length * step))
    if new_end <= new_start:
        return None
    first = min(max(round((new_start - offset) / step), 0), length - 1)
    last = min(max(round((new_end - offset) / step), first + 1), length)
    return (first, last), (new_start, new_end)
