"""Puts an image, turned and scaled, into a window of a canvas, and its boxes, masks and labels with it.

Nothing here is random: `random_placement` chooses, this module computes.

An image is cropped at whole pixels, resized by `preproc.resize_to` as in serving, and pasted at whole pixels. Boxes
are moved by what the pixels were moved by after all rounding, so that a box stays on its object.
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
"""(first, past the last) pixel of an image along one axis, and (first, past the last) pixel of the canvas for them."""


@dataclass(frozen=True)
class SizedImage:
    """Holds a decoded image, maybe shrunk. pixels: uint8 RGB [h, w, 3]. geometry: from the original to it."""

    pixels: np.ndarray
    geometry: Geometry

    @property
    def nbytes(self) -> int:
        """Returns the size of the pixels in bytes."""
        return self.pixels.nbytes


@dataclass(frozen=True)
class Orientation:
    """Holds one of eight ways to turn an image: mirrored left and right or not, then turned clockwise by quarters."""

    mirrored: bool = False
    quarters: int = 0

    def size(self, width: float, height: float) -> tuple[float, float]:
        """Returns width and height after the turn."""
        return (height, width) if self.quarters % 2 else (width, height)

    def boxes(self, boxes: np.ndarray, width: float, height: float) -> np.ndarray:
        """Returns the boxes, float64 [N, 4], of an image of width x height after the turn."""
        x1, y1, x2, y2 = np.asarray(boxes, np.float64).reshape(-1, 4).T
        if self.mirrored:
            x1, x2 = width - x2, width - x1
        for _ in range(self.quarters % 4):
            x1, y1, x2, y2 = height - y2, x1, height - y1, x2
            width, height = height, width
        return np.stack([x1, y1, x2, y2], axis=1)

    def undone(self, rectangle: Rectangle, width: int, height: int) -> Rectangle:
        """Returns where a rectangle of the turned image was in the image of width x height before the turn."""
        turned = self.size(width, height)
        back = Orientation(quarters=-self.quarters % 4).boxes(np.array([rectangle]), *turned)
        left, top, right, bottom = Orientation(self.mirrored).boxes(back, width, height)[0].astype(int).tolist()
        return left, top, right, bottom

    def pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Returns pixels, [H, W] or [H, W, 3], after the turn."""
        if self.mirrored:
            pixels = cv2.flip(pixels, 1)
        return cv2.rotate(pixels, _TURNS[self.quarters % 4]) if self.quarters % 4 else pixels

    def grids(self, grids: np.ndarray) -> np.ndarray:
        """Returns grids, [N, S, S], after the turn of each."""
        if self.mirrored:
            grids = grids[:, :, ::-1]
        return np.rot90(grids, -self.quarters % 4, axes=(1, 2))


@dataclass(frozen=True)
class Placement:
    """Holds the position of an image on a canvas: canvas = turned original * scale + offset, cut off at the window.

    width, height: of the original. scale, offset: along x and y, in pixels of the canvas.
    """

    width: int
    height: int
    orientation: Orientation
    scale: tuple[float, float]
    offset: tuple[float, float]
    window: Rectangle

    def visible(self, boxes: np.ndarray, least_fraction: float, least_side: float) -> tuple[np.ndarray, np.ndarray]:
        """Returns the boxes of the original that are visible on the canvas.

        Args:
            boxes: [N, 4]. least_fraction: of a box's area that must be visible. least_side: the least width and height
                of the visible part, in pixels of the canvas.

        Returns:
            float32 [K, 4] the visible parts of the K boxes, and bool [N] which boxes they are.
        """
        moved = self.moved(boxes)
        clipped = np.clip(moved, self.window[:2] * 2, self.window[2:] * 2)
        sizes, full_sizes = clipped[:, 2:] - clipped[:, :2], moved[:, 2:] - moved[:, :2]
        visible = (sizes.min(axis=1, initial=np.inf) >= least_side) & (
            sizes.prod(axis=1) >= least_fraction * full_sizes.prod(axis=1)
        )
        visible &= sizes.min(axis=1, initial=np.inf) > 0
        return clipped[visible].astype(np.float32), visible

    def moved(self, boxes: np.ndarray) -> np.ndarray:
        """Returns where boxes of the original, [N, 4], are on the canvas, also beyond the window: float64 [N, 4]."""
        turned = self.orientation.boxes(boxes, self.width, self.height)
        return turned * (*self.scale, *self.scale) + (*self.offset, *self.offset)

    def moved_masks(self, masks: InstanceMasks) -> InstanceMasks:
        """Returns masks of the original, turned and moved as the image is."""
        return InstanceMasks(self.moved(masks.frames).astype(np.float32), self.orientation.grids(masks.grids))

    def settled(self, image: SizedImage) -> Placement:
        """Returns the same placement after all rounding, as `draw` draws it; the window is what the image fills."""
        spans = self._spans(image)
        if spans is None:
            return replace(self, window=(*self.window[:2], *self.window[:2]))
        scale, offset = [], []
        for ((start, end), (new_start, new_end)), stored in zip(spans, self._stored_scale(image), strict=True):
            step = (new_end - new_start) / (end - start)
            scale.append(step * stored)
            offset.append(new_start - start * step)
        (_, (left, right)), (_, (top, bottom)) = spans
        return replace(
            self, scale=(scale[0], scale[1]), offset=(offset[0], offset[1]), window=(left, top, right, bottom)
        )

    def draw(self, image: SizedImage, canvas: np.ndarray, interpolation: str) -> None:
        """Draws the image onto the canvas, uint8 RGB [H, W, 3]; nothing where it is outside of its window."""
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

    def _stored_scale(self, image: SizedImage) -> tuple[float, float]:
        """Returns how many pixels of the turned image, as it is in memory, an original pixel is."""
        return self.orientation.size(image.geometry.scale_x, image.geometry.scale_y)

    def _spans(self, image: SizedImage) -> tuple[Span, Span] | None:
        """Returns what is visible along x and y; None where nothing is."""
        height, width = image.pixels.shape[:2]
        turned, stored_scale = self.orientation.size(width, height), self._stored_scale(image)
        across, down = (
            _span(
                int(turned[axis]),
                self.scale[axis] / stored_scale[axis],
                self.offset[axis],
                self.window[axis],
                self.window[axis + 2],
            )
            for axis in (0, 1)
        )
        return None if across is None or down is None else (across, down)


def nearest(labels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resizes a label map [h, w] to [height, width]: each pixel gets the label of the pixel in which its centre is."""
    rows, columns = (
        ((np.arange(new) + 0.5) * (old / new)).astype(np.intp)
        for new, old in zip((height, width), labels.shape, strict=True)
    )
    return np.ascontiguousarray(labels[:, columns][rows])


def _span(length: int, step: float, offset: float, start: int, end: int) -> Span | None:
    """Returns which pixels of a row are visible, and where on the canvas.

    Args:
        length: of the source. step: canvas pixels per source pixel. offset: of the source's first pixel on the canvas.
        start, end: of the window.
    """
    new_start, new_end = round(max(start, offset)), round(min(end, offset + length * step))
    if new_end <= new_start:
        return None
    first = min(max(round((new_start - offset) / step), 0), length - 1)
    last = min(max(round((new_end - offset) / step), first + 1), length)
    return (first, last), (new_start, new_end)
