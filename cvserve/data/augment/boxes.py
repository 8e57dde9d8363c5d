"""Augmentation of detection: where an image, or four, comes to lie by chance, boxes and pixels together."""

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
"""Pixels of the network's input; what is left of a box must have that many each way."""

_TRIES = 10
# The point of a mosaic where four images meet, in shares of the sides.
_MEETING = (0.25, 0.75)


class Example(NamedTuple):
    """pixels: uint8 RGB [H, W, 3]. boxes: float32 [N, 4] x1, y1, x2, y2. labels: int32 [N]. masks: the masks of the N,
    where the objects have them."""

    pixels: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    masks: InstanceMasks | None = None


Labelled = tuple[SizedImage, Objects]
"""An image and its objects, in pixels of the original."""


def augment_example(
    example: Labelled, spec: PreprocSpec, augmentation: Augmentation, rng: np.random.Generator
) -> Example:
    """One image and its boxes: laid, scaled and moved by chance, as `Augmentation` says.

    A place at which not one object can be seen is drawn again, up to ten times; after that the image is shown as in
    serving.

    Args:
        rng: decides everything; the same state gives the same example.
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
    moved, kept = placement.visible(boxes, augmentation.least_visible, LEAST_SIDE)
    masks = moved_masks(objects, used, kept, placement)
    return Example(recolored(canvas, augmentation, rng), moved, labels[kept], masks)


def mosaic(
    examples: Sequence[Labelled], spec: PreprocSpec, augmentation: Augmentation, rng: np.random.Generator
) -> Example:
    """Four images that meet at a point by chance, each cut off at its part of the canvas.

    From YOLOv4 (Bochkovskiy et al. 2020, arXiv 2004.10934, section 3.4). Each is laid and scaled as a single one would
    be, so that objects keep the sizes of serving.
    """
    canvas = blank(spec)
    across, down = (
        round(side * share) for side, share in zip((spec.width, spec.height), rng.uniform(*_MEETING, 2), strict=True)
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
        moved, kept = placement.visible(objects.boxes[used], augmentation.least_visible, LEAST_SIDE)
        boxes.append(moved)
        labels.append(objects.labels[used][kept])
        own = moved_masks(objects, used, kept, placement)
        if own is not None:
            masks.append(own)
    all_masks = joined(masks) if masks else None
    return Example(recolored(canvas, augmentation, rng), np.concatenate(boxes), np.concatenate(labels), all_masks)


def moved_masks(objects: Objects, used: np.ndarray, kept: np.ndarray, placement: Placement) -> InstanceMasks | None:
    """The masks of the `kept`, bool [K], of the K objects that are `used`, bool [N]; None where there are none."""
    return None if objects.masks is None else placement.moved_masks(objects.masks[used][kept])
