"""Draws where an image is placed, and in which colours: for all tasks whose targets move with the pixels."""

from __future__ import annotations

import math

import cv2
import numpy as np

from cvserve.artifact.specs import PreprocSpec
from cvserve.data.augment.augment import Augmentation, color_matrix
from cvserve.data.augment.placement import Orientation, Placement, Rectangle, SizedImage
from cvserve.preproc.geometry import plan


def as_served(image: SizedImage, spec: PreprocSpec, orientation: Orientation | None = None) -> Placement:
    """Returns the placement of an image, turned or not, in serving."""
    orientation = orientation or Orientation()
    original = image.geometry.original_width, image.geometry.original_height
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
    """Returns the largest scale of an image: pixels of the network's input per pixel of the original, along x and y."""
    upright = plan(width, height, spec).geometry(width, height)
    scale_x, scale_y = upright.scale_x, upright.scale_y
    if augmentation.quarter_turn > 0:
        turned = plan(height, width, spec).geometry(height, width)
        scale_x, scale_y = max(scale_x, turned.scale_y), max(scale_y, turned.scale_x)
    return scale_x * augmentation.scale[1], scale_y * augmentation.scale[1]


def draw_orientation(augmentation: Augmentation, rng: np.random.Generator) -> Orientation:
    """Draws one of the eight ways to turn an image, by the probabilities of `augmentation`."""
    flip, vertical, half, quarter, clockwise = rng.random(5)
    mirrored = flip < augmentation.flip
    quarters = 2 * (half < augmentation.half_turn)
    if vertical < augmentation.vertical_flip:
        mirrored, quarters = not mirrored, quarters + 2
    if quarter < augmentation.quarter_turn:
        quarters += 1 if clockwise < 0.5 else 3
    return Orientation(bool(mirrored), int(quarters) % 4)


def draw_placement(
    image: SizedImage,
    spec: PreprocSpec,
    augmentation: Augmentation,
    orientation: Orientation,
    window: Rectangle,
    translate: float,
    rng: np.random.Generator,
) -> Placement:
    """Draws a placement.

    The image is scaled, then put anywhere where it fills the window or is within it, then moved by `translate`.
    """
    served = as_served(image, spec, orientation)
    least, greatest = augmentation.scale
    zoom = math.exp(rng.uniform(math.log(least), math.log(greatest)))
    draws = rng.uniform(-1, 1, size=(2, 2)).tolist()
    unscaled = window == served.window and least == greatest == 1
    size = orientation.size(served.width, served.height)
    offset = []
    for axis in (0, 1):
        room = window[axis + 2] - window[axis] - size[axis] * served.scale[axis] * zoom
        shift = draws[1][axis] * translate * (window[axis + 2] - window[axis])
        if unscaled:
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


def blank(spec: PreprocSpec) -> np.ndarray:
    """Returns a canvas of the network's size in the colour of padding: uint8 RGB [H, W, 3]."""
    canvas = np.empty((spec.height, spec.width, 3), np.uint8)
    canvas[:] = spec.fill
    return canvas


def recolored(pixels: np.ndarray, augmentation: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Changes the colours of pixels, uint8 RGB [H, W, 3], at random."""
    if not augmentation.has_color:
        return pixels
    return cv2.transform(pixels, color_matrix(augmentation, cv2.mean(pixels)[:3], rng))
