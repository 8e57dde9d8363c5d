"""Augmentation of segmentation: a picture and its label map, laid, scaled and moved by chance together."""

from __future__ import annotations

import numpy as np

from cvserve.artifact.specs import PreprocSpec
from cvserve.data.augment import Augmentation
from cvserve.data.masked_cache import MaskedPicture
from cvserve.data.masks import VOID
from cvserve.data.places import as_served, blank, draw_orientation, draw_placement, recoloured

_TRIES = 10

Example = tuple[np.ndarray, np.ndarray]
"""Pixels uint8 RGB [H, W, 3] and labels uint8 [H, W]."""


def augment_masked(
    example: MaskedPicture, spec: PreprocSpec, augmentation: Augmentation, rng: np.random.Generator
) -> Example:
    """One picture and its label map, as `Augmentation` says; padding is `VOID`.

    A place at which not one labelled pixel can be seen is drawn again, up to ten times; after that the picture is shown
    as in serving.

    Args:
        rng: decides everything; the same state gives the same example.
    """
    picture, labels = example.picture, example.labels
    orientation = draw_orientation(augmentation, rng)
    window = (0, 0, spec.width, spec.height)
    for _ in range(_TRIES):
        placement = draw_placement(picture, spec, augmentation, orientation, window, augmentation.translate, rng)
        shown = np.full((spec.height, spec.width), VOID, np.uint8)
        placement.draw_labels(labels, picture, shown)
        if (shown != VOID).any():
            break
    else:
        placement = as_served(picture, spec, orientation)
        shown = np.full((spec.height, spec.width), VOID, np.uint8)
        placement.draw_labels(labels, picture, shown)
    canvas = blank(spec)
    placement.draw(picture, canvas, spec.interpolation)
    return recoloured(canvas, augmentation, rng), shown
