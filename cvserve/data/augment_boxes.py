"""Augmentation of detection: where a picture, or four, comes to lie by chance, boxes and pixels together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from cvserve.artifact.specs import PreprocSpec
from cvserve.data.augment import Augmentation, colour_matrix
from cvserve.data.objects import Objects
from cvserve.data.placement import Orientation, Placement, Rectangle, SizedPicture
from cvserve.preproc.geometry import plan

LEAST_SIDE = 2.0
"""Pixels of the network's input; what is left of a box must have that many each way."""

_TRIES = 10
# The point of a mosaic where four pictures meet, in shares of the sides.
_MEETING = (0.25, 0.75)

Example = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Pixels uint8 RGB [H, W, 3], boxes float32 [N, 4] x1, y1, x2, y2, labels int32 [N]."""

Labelled = tuple[SizedPicture, Objects]
"""A picture and its objects, in pixels of the original."""


def augment_example(
    example: Labelled, spec: PreprocSpec, augmentation: Augmentation, rng: np.random.Generator
) -> Example:
    """One picture and its boxes: laid, scaled and moved by chance, as `Augmentation` says.

    A place at which not one object can be seen is drawn again, up to ten times; after that the picture is shown as in
    serving.

    Args:
        rng: decides everything; the same state gives the same example.
    """
    picture, objects = example
    used = ~objects.ignored
    boxes, labels = objects.boxes[used], objects.labels[used]
    orientation = _orientation(augmentation, rng)
    window = (0, 0, spec.width, spec.height)
    placement = None
    for _ in range(_TRIES):
        drawn = _placement(picture, spec, augmentation, orientation, window, augmentation.translate, rng)
        drawn = drawn.settled(picture)
        if not len(boxes) or drawn.visible(boxes, augmentation.least_visible, LEAST_SIDE)[1].any():
            placement = drawn
            break
    if placement is None:
        placement = as_served(picture, spec, orientation).settled(picture)
    canvas = _canvas(spec)
    placement.draw(picture, canvas, spec.interpolation)
    moved, kept = placement.visible(boxes, augmentation.least_visible, LEAST_SIDE)
    return recoloured(canvas, augmentation, rng), moved, labels[kept]


def mosaic(
    examples: Sequence[Labelled], spec: PreprocSpec, augmentation: Augmentation, rng: np.random.Generator
) -> Example:
    """Four pictures that meet at a point by chance, each cut off at its part of the canvas.

    From YOLOv4 (Bochkovskiy et al. 2020, arXiv 2004.10934, section 3.4). Each is laid and scaled as a single one would
    be, so that objects keep the sizes of serving.
    """
    canvas = _canvas(spec)
    across, down = (
        round(side * share) for side, share in zip((spec.width, spec.height), rng.uniform(*_MEETING, 2), strict=True)
    )
    boxes, labels = [], []
    for number, (picture, objects) in enumerate(examples):
        right, below = number % 2, number // 2
        window = (
            across if right else 0,
            down if below else 0,
            spec.width if right else across,
            spec.height if below else down,
        )
        placement = _placement(picture, spec, augmentation, _orientation(augmentation, rng), window, 0.0, rng)
        placement = placement.settled(picture)
        placement.draw(picture, canvas, spec.interpolation)
        used = ~objects.ignored
        moved, kept = placement.visible(objects.boxes[used], augmentation.least_visible, LEAST_SIDE)
        boxes.append(moved)
        labels.append(objects.labels[used][kept])
    return recoloured(canvas, augmentation, rng), np.concatenate(boxes), np.concatenate(labels)


def as_served(picture: SizedPicture, spec: PreprocSpec, orientation: Orientation | None = None) -> Placement:
    """Where serving would show the picture, laid or not."""
    orientation = orientation or Orientation()
    original = picture.geometry.original_width, picture.geometry.original_height
    width, height = (int(side) for side in orientation.size(*original))
    geometry = plan(width, height, spec).geometry(width, height)
    return Placement(
        *original,
        orientation,
        (geometry.scale_x, geometry.scale_y),
        (geometry.offset_x, geometry.offset_y),
        (0, 0, spec.width, spec.height),
    )


def largest_scale(width: int, height: int, spec: PreprocSpec, augmentation: Augmentation) -> tuple[float, float]:
    """How large a picture of width x height is ever shown: pixels of the network's input a pixel of it, each way."""
    upright = plan(width, height, spec).geometry(width, height)
    scale_x, scale_y = upright.scale_x, upright.scale_y
    if augmentation.quarter_turn > 0:
        laid = plan(height, width, spec).geometry(height, width)
        scale_x, scale_y = max(scale_x, laid.scale_y), max(scale_y, laid.scale_x)
    return scale_x * augmentation.scale[1], scale_y * augmentation.scale[1]


def _orientation(augmentation: Augmentation, rng: np.random.Generator) -> Orientation:
    flip, vertical, half, quarter, clockwise = rng.random(5)
    mirrored = flip < augmentation.flip
    quarters = 2 * (half < augmentation.half_turn)
    if vertical < augmentation.vertical_flip:
        mirrored, quarters = not mirrored, quarters + 2
    if quarter < augmentation.quarter_turn:
        quarters += 1 if clockwise < 0.5 else 3
    return Orientation(bool(mirrored), int(quarters) % 4)


def _placement(
    picture: SizedPicture,
    spec: PreprocSpec,
    augmentation: Augmentation,
    orientation: Orientation,
    window: Rectangle,
    translate: float,
    rng: np.random.Generator,
) -> Placement:
    """A place by chance: scaled, then anywhere where it fills the window or lies within it, then moved by translate."""
    served = as_served(picture, spec, orientation)
    least, greatest = augmentation.scale
    zoom = math.exp(rng.uniform(math.log(least), math.log(greatest)))
    draws = rng.uniform(-1, 1, size=(2, 2)).tolist()
    whole = window == served.window and least == greatest == 1
    size = orientation.size(served.width, served.height)
    offset = []
    for axis in (0, 1):
        room = window[axis + 2] - window[axis] - size[axis] * served.scale[axis] * zoom
        shift = draws[1][axis] * translate * (window[axis + 2] - window[axis])
        if whole:
            offset.append(served.offset[axis] + shift)
        else:
            offset.append(window[axis] + room / 2 + draws[0][axis] * abs(room) / 2 + shift)
    return Placement(
        served.width,
        served.height,
        orientation,
        (served.scale[0] * zoom, served.scale[1] * zoom),
        (offset[0], offset[1]),
        window,
    )


def _canvas(spec: PreprocSpec) -> np.ndarray:
    canvas = np.empty((spec.height, spec.width, 3), np.uint8)
    canvas[:] = spec.fill
    return canvas


def recoloured(pixels: np.ndarray, augmentation: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """uint8 RGB [H, W, 3] in other colours by chance."""
    if not augmentation.has_colour:
        return pixels
    return cv2.transform(pixels, colour_matrix(augmentation, cv2.mean(pixels)[:3], rng))
