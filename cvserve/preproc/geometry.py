"""Resizes upright images to the graph's height x width by the rules of PreprocSpec, and maps boxes back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from cvserve.artifact import PreprocSpec

_INTERPOLATIONS = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "nearest": cv2.INTER_NEAREST}
# How many times longer than the crop an enlarged image may be before its ends are cut off first: a strip of
# 1 x 5000 pixels would otherwise grow to 224 x 1,120,000 to have its middle cut out.
MOST_OVERHANG = 4
# cv2 adds up the values of a mean in 32 bits: from 8.4 million pixels on, their sum overflows.
_MOST_IN_A_MEAN = 1 << 23


@dataclass(frozen=True)
class Geometry:
    """Maps points of the upright original image to the graph's input: input = original * scale + offset.

    Coordinates are in pixels, measured at pixel edges: (0, 0) is the top left corner of the top left pixel,
    (original_width, original_height) the bottom right corner of the last.
    """

    original_width: int
    original_height: int
    scale_x: float = 1.0
    scale_y: float = 1.0
    offset_x: float = 0.0
    offset_y: float = 0.0

    def to_original(self, boxes: np.ndarray, *, clip: bool = True) -> np.ndarray:
        """Returns boxes of the graph's input as boxes of the original image.

        Args:
            boxes: [N, 4] as x1, y1, x2, y2.
            clip: to the image.

        Returns:
            float32 [N, 4].
        """
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        offset = (self.offset_x, self.offset_y) * 2
        scale = (self.scale_x, self.scale_y) * 2
        limit = (self.original_width, self.original_height) * 2
        moved = (boxes - offset) / scale
        return (np.clip(moved, 0, limit) if clip else moved).astype(np.float32)

    def to_input(self, boxes: np.ndarray) -> np.ndarray:
        """Returns boxes [N, 4] of the original image as float32 boxes [N, 4] of the graph's input, not clipped."""
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        scale = (self.scale_x, self.scale_y) * 2
        offset = (self.offset_x, self.offset_y) * 2
        return (boxes * scale + offset).astype(np.float32)


@dataclass(frozen=True)
class Plan:
    """Holds how an upright image of a known size is resized.

    keep: (left, top, right, bottom) of the original that is resized. width, height: what it is resized to.
    left, top: where the result's corner then lies in the graph's input (negative: cropped, positive: padded).
    """

    keep: tuple[int, int, int, int]
    width: int
    height: int
    left: int
    top: int

    def geometry(self, original_width: int, original_height: int) -> Geometry:
        """Returns how points of an image of this size map to the graph's input."""
        keep_left, keep_top, keep_right, keep_bottom = self.keep
        scale_x = self.width / (keep_right - keep_left)
        scale_y = self.height / (keep_bottom - keep_top)
        return Geometry(
            original_width,
            original_height,
            scale_x,
            scale_y,
            self.left - keep_left * scale_x,
            self.top - keep_top * scale_y,
        )


def plan(width: int, height: int, spec: PreprocSpec) -> Plan:
    """Returns the resize of an upright image of width x height pixels."""
    keep = (0, 0, width, height)
    if spec.resize == "exact":
        return Plan(keep, spec.width, spec.height, 0, 0)
    if spec.resize == "letterbox":
        scale = min(spec.width / width, spec.height / height)
        new_width = min(spec.width, max(1, round(width * scale)))
        new_height = min(spec.height, max(1, round(height * scale)))
        return Plan(keep, new_width, new_height, (spec.width - new_width) // 2, (spec.height - new_height) // 2)
    short_side = spec.short_side or 0
    scale = max(short_side / min(width, height), spec.width / width, spec.height / height)
    if scale > 1:
        left = _cut_off(width, spec.width * MOST_OVERHANG / scale)
        top = _cut_off(height, spec.height * MOST_OVERHANG / scale)
        keep = (left, top, width - left, height - top)
    new_width = max(spec.width, round((keep[2] - keep[0]) * scale))
    new_height = max(spec.height, round((keep[3] - keep[1]) * scale))
    return Plan(keep, new_width, new_height, -((new_width - spec.width) // 2), -((new_height - spec.height) // 2))


def _cut_off(length: int, wanted: float) -> int:
    """Returns how many pixels each end of `length` can lose so that at least `wanted` stay around the same centre."""
    return max(0, (length - math.ceil(wanted)) // 2)


def reduction(width: int, height: int, spec: PreprocSpec) -> int:
    """Returns the largest of 8, 4, 2, 1 by which an image may be shrunk while it is decoded.

    The rest is still resized down by at least 2 in both directions, so that the final size comes from an area mean of
    at least 2 x 2 pixels.
    """
    target = plan(width, height, spec)
    for factor in (8, 4, 2):
        if width >= 2 * factor * target.width and height >= 2 * factor * target.height:
            return factor
    return 1


def resize_to(image: np.ndarray, width: int, height: int, interpolation: str = "linear") -> np.ndarray:
    """Resizes [H, W, ...] to [height, width, ...]: an area mean where it shrinks, `interpolation` where it grows.

    The only resize of cvserve's images.

    Args:
        image: uint8 [H, W] or [H, W, C].
        interpolation: "linear", "cubic" or "nearest", for enlarging.
    """
    now_height, now_width = image.shape[:2]
    # One direction may shrink while the other grows; cv2's INTER_AREA is an area mean only where both shrink.
    smaller_width, smaller_height = min(width, now_width), min(height, now_height)
    if now_width * now_height > _MOST_IN_A_MEAN * smaller_width * smaller_height:
        # Means of means, for inputs of a few pixels only.
        step = max(smaller_width, -(-now_width // 64)), max(smaller_height, -(-now_height // 64))
        image = cv2.resize(image, step, interpolation=cv2.INTER_AREA)
    if (smaller_width, smaller_height) != image.shape[1::-1]:
        image = cv2.resize(image, (smaller_width, smaller_height), interpolation=cv2.INTER_AREA)
    if (smaller_width, smaller_height) != (width, height):
        image = cv2.resize(image, (width, height), interpolation=_INTERPOLATIONS[interpolation])
    return image


def shrink_reduced(image: np.ndarray, factor: int, original: tuple[int, int], target: tuple[int, int]) -> np.ndarray:
    """Shrinks an image that was decoded at 1 / `factor`, as `resize_to` would have shrunk the whole.

    Args:
        image: uint8 [ceil(H / factor), ceil(W / factor), 3].
        original: (W, H), of which W / factor and H / factor need not be whole.
        target: (width, height), at most half of the image.
    """
    # With a scale instead of a size, cv2 leaves out the part of the last pixels that lies beyond the original: it
    # samples at exact places, and rounds to the same size, since that part makes less than half a target pixel.
    scale_x = target[0] * factor / original[0]
    scale_y = target[1] * factor / original[1]
    return cv2.resize(image, None, fx=scale_x, fy=scale_y, interpolation=cv2.INTER_AREA)


def resize(image: np.ndarray, spec: PreprocSpec) -> tuple[np.ndarray, Geometry]:
    """Brings an upright image to the spec's size.

    Args:
        image: uint8 RGB [H, W, 3].

    Returns:
        uint8 RGB [spec.height, spec.width, 3], C-contiguous, and the geometry between the two.
    """
    height, width = image.shape[:2]
    steps = plan(width, height, spec)
    left, top, right, bottom = steps.keep
    resized = resize_to(image[top:bottom, left:right], steps.width, steps.height, spec.interpolation)
    return place(resized, steps, spec), steps.geometry(width, height)


def place(image: np.ndarray, steps: Plan, spec: PreprocSpec) -> np.ndarray:
    """Crops or pads a resized image [steps.height, steps.width, 3] to [spec.height, spec.width, 3]."""
    if spec.resize == "letterbox" and image.shape[:2] != (spec.height, spec.width):
        canvas = np.empty((spec.height, spec.width, 3), np.uint8)
        canvas[:] = spec.fill
        canvas[steps.top : steps.top + steps.height, steps.left : steps.left + steps.width] = image
        return canvas
    return np.ascontiguousarray(image[-steps.top : spec.height - steps.top, -steps.left : spec.width - steps.left])
