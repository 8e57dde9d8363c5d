"""Augments images for segmentation: an image and its label map are turned, scaled and moved together at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cvserve.artifact.specs import PreprocSpec
from cvserve.data.augment.augment import Augmentation
from cvserve.data.augment.placement import SizedImage
from cvserve.data.augment.random_placement import as_served, blank, draw_orientation, draw_placement, recolored
from cvserve.data.masks import VOID
from cvserve.preproc import Geometry

_TRIES = 10

Example = tuple[np.ndarray, np.ndarray]
"""Pixels uint8 RGB [H, W, 3] and labels uint8 [H, W]."""


@dataclass(frozen=True)
class MaskedImage:
    """Holds an image, which may have been shrunk, and its labels, uint8 [h, w] of the size of its pixels."""

    image: SizedImage
    labels: np.ndarray

    @property
    def nbytes(self) -> int:
        """Returns the size of the pixels and labels in bytes."""
        return self.image.nbytes + self.labels.nbytes

    @property
    def geometry(self) -> Geometry:
        """Returns the geometry from the upright original to the pixels."""
        return self.image.geometry


def augment_masked(
    example: MaskedImage, spec: PreprocSpec, augmentation: Augmentation, rng: np.random.Generator
) -> Example:
    """Augments one image and its label map as `Augmentation` says; padding is `VOID`.

    A placement without any visible labelled pixel is drawn again, up to ten times; after that the image is shown as in
    serving.

    Args:
        rng: makes all random choices; the same state gives the same example.
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
