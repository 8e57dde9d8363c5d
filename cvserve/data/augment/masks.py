"""Augmentation of segmentation: an image and its label map, laid, scaled and moved by chance together."""

from __future__ import annotations

import numpy as np

from cvserve.artifact.specs import PreprocSpec
from cvserve.data.augment.augment import Augmentation
from cvserve.data.augment.random_placement import as_served, blank, draw_orientation, draw_placement, recolored
from cvserve.data.masks import VOID
from cvserve.data.pipelines.masked_cache import MaskedImage

_TRIES = 10

Example = tuple[np.ndarray, np.ndarray]
"""Pixels uint8 RGB [H, W, 3] and labels uint8 [H, W]."""


def augment_masked(
    example: MaskedImage, spec: PreprocSpec, augmentation: Augmentation, rng: np.random.Generator
) -> Example:
    """One image and its label map, as `Augmentation` says; padding is `VOID`.

    A place at which not one labelled pixel can be seen is drawn again, up to ten times; after that the image is shown
    as in serving.

    Args:
        rng: decides everything; the same state gives the same example.
    """
    image, labels = example.image, example.labels
    orientation = draw_orientation(augmentation, rng)
    window = (0, 0, spec.width, spec.height)
    for _ in range(_TRIES):
        placement = draw_placement(image, spec, augmentation, orientation, window, augmentation.translate, rng)
        shown = np.full((spec.height, spec.width), VOID, np.uint8)
        placement.draw_labels(labels, image, shown)
        if (shown != VOID).any():
            break
    else:
        placement = as_served(image, spec, orientation)
        shown = np.full((spec.height, spec.width), VOID, np.uint8)
        placement.draw_labels(labels, image, shown)
    canvas = blank(spec)
    placement.draw(image, canvas, spec.interpolation)
    return recolored(canvas, augmentation, rng), shown
