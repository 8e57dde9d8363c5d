"""Augments images for detection: one image, or a mosaic of four, is placed at random together with its boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cvserve.artifact.specs import PreprocSpec
from cvserve.data.augment.augment import Augmentation
from cvserve.data.augment.placement import Placement, SizedImage
from cvserve.data.augment.random_placement import as_served, blank, draw_orientation, draw_placement, recolored
from cvserve.data.instance_masks import InstanceMasks, joined
from cvserve.data.objects import Objects

LEAST_SIDE = 2.0
"""The least width and height of what is left of a box, in pixels of the network's input."""

_TRIES = 10
# The range of the point of a mosaic where four images meet, as fractions of width and height.
_MEETING = (0.25, 0.75)


class Example(NamedTuple):
    """Holds an augmented image and its N objects.

    pixels: uint8 RGB [H, W, 3]. boxes: float32 [N, 4] x1, y1, x2, y2. labels: int32 [N]. masks: of the N objects, where
    the data set has them.
    """

    pixels: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    masks: InstanceMasks | None = None


Labelled = tuple[SizedImage, Objects]
"""An image and its objects, in pixels of the original."""


def augment_example(
    example: Labelled, spec: PreprocSpec, augmentation: Augmentation, rng: np.random.Generator
) -> Example:
    """Turns, scales and moves one image and its boxes at random, as `Augmentation` says.

    A placement without any visible object is drawn again, up to ten times; after that the image is shown as in serving.

    Args:
        rng: makes all random choices; the same state gives the same example.
    """
    image, objects = example
    used = ~objects.ignored
    boxes, labels = objects.boxes[used], objects.labels[used]
    orientation = draw_orientation(augmentation, rng)
    window = (0, 0, spec.width, spec.height)
    placement = None
    for _ in range(_TRIES):
        drawn = draw_placement(image, spec, augmentation, orientation, window, augmentation.translate, rng)
        drawn = drawn.settled(image)
        if not len(boxes) or drawn.visible(boxes, augmentation.least_visible, LEAST_SIDE)[1].any():
            placement = drawn
            break
    if placement is None:
        placement = as_served(image, spec, orientation).settled(image)
    canvas = blank(spec)
    placement.draw(image, canvas, spec.interpolation)
    moved, visible = placement.visible(boxes, augmentation.least_visible, LEAST_SIDE)
    masks = moved_masks(objects, used, visible, placement)
    return Example(recolored(canvas, augmentation, rng), moved, labels[visible], masks)


def mosaic(
    examples: Sequence[Labelled], spec: PreprocSpec, augmentation: Augmentation, rng: np.random.Generator
) -> Example:
    """Joins four images that meet at a random point, each cut off at its part of the canvas.

    From YOLOv4 (Bochkovskiy et al. 2020, arXiv 2004.10934, section 3.4). Each is turned and scaled as a single image
    would be, so that objects have the sizes of serving.
    """
    canvas = blank(spec)
    across, down = (
        round(length * fraction)
        for length, fraction in zip((spec.width, spec.height), rng.uniform(*_MEETING, 2), strict=True)
    )
    boxes, labels = [], []
    masks: list[InstanceMasks] = []
    for number, (image, objects) in enumerate(examples):
        right, below = number % 2, number // 2
        window = (
            across if right else 0,
            down if below else 0,
            spec.width if right else across,
            spec.height if below else down,
        )
        placement = draw_placement(image, spec, augmentation, draw_orientation(augmentation, rng), window, 0.0, rng)
        placement = placement.settled(image)
        placement.draw(image, canvas, spec.interpolation)
        used = ~objects.ignored
        moved, visible = placement.visible(objects.boxes[used], augmentation.least_visible, LEAST_SIDE)
        boxes.append(moved)
        labels.append(objects.labels[used][visible])
        own = moved_masks(objects, used, visible, placement)
        if own is not None:
            masks.append(own)
    all_masks = joined(masks) if masks else None
    return Example(recolored(canvas, augmentation, rng), np.concatenate(boxes), np.concatenate(labels), all_masks)


def moved_masks(objects: Objects, used: np.ndarray, visible: np.ndarray, placement: Placement) -> InstanceMasks | None:
    """Returns the masks of the visible objects, moved with the image; None where the objects have no masks.

    Args:
        used: bool [N], K of them true. visible: bool [K], of those that are used.
    """
    return None if objects.masks is None else placement.moved_masks(objects.masks[used][visible])
