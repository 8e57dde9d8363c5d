"""Draws what is where in a scene, in fractions of the image's side. No object touches or hides another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cvserve.data.scenes.describe import is_beyond_doubt
from cvserve.data.scenes.shapes import COLORS, REACH, SHAPES, SIZES, SceneObject

# Between the bounding circles of two objects, and to the border: over one pixel at 32 x 32, so that not even the
# antialiased rims meet.
GAP = 0.04

# A single object varies more in size, but is turned by at most 20 degrees, so that a small network learns the shapes in
# a minute or two. One run each of resnet20 (32 x 32 pixels, 2400 images an epoch, 10 epochs of AdamW at 0.003 with
# warm-up): val top-1 0.99 after 8 epochs; with any turn, even on a bare ground and with larger objects, 0.74 after 10.
_SINGLE_SIZE = (0.13, 0.27)
_SINGLE_TURN = 20.0
_ANY_TURN = 180.0
_TRIES = 60
_LAYOUTS = 50
"""Number of tries to find a layout without doubtful sentences; half of the layouts with three objects have some."""


@dataclass(frozen=True)
class SceneTask:
    """Describes how the scenes of one task differ from those of the others.

    number: part of the random seed, so that tasks share no scene; it is never changed. image_size: pixels per side by
    default. layout: draws the objects of scene `index`. background: the name of class 0, of pixels of no object; ""
    where the shapes are all classes. shape: the shape of the single object of scene `index`, where that is known
    without drawing it. has_classes: whether a model that is trained on the scenes has classes.
    """

    number: int
    image_size: int
    layout: Callable[[int, np.random.Generator], tuple[SceneObject, ...]]
    background: str = ""
    shape: Callable[[int], int] | None = None
    has_classes: bool = True


def single_object(shape: str, rng: np.random.Generator) -> tuple[SceneObject, ...]:
    """Draws the layout of a classification scene: one object of this shape, all else at random."""
    color = str(rng.choice(list(COLORS)))
    radius = float(rng.uniform(*_SINGLE_SIZE))
    return (_random_object(shape, color, "", radius, _SINGLE_TURN, rng),)


def several_objects(lowest: int, highest: int, rng: np.random.Generator) -> tuple[SceneObject, ...]:
    """Draws `lowest` to `highest` objects, no two of the same size, colour and shape.

    Where there is no room for all, there are fewer objects, at least one.
    """
    return _some_objects(int(rng.integers(lowest, highest + 1)), rng)


def describable_objects(lowest: int, highest: int, rng: np.random.Generator) -> tuple[SceneObject, ...]:
    """Draws objects as `several_objects`, and again until no sentence about them is in doubt."""
    wanted = int(rng.integers(lowest, highest + 1))
    for _ in range(_LAYOUTS):
        objects = _some_objects(wanted, rng)
        if is_beyond_doubt(_boxes(objects)):
            break
    return objects


def _boxes(objects: Sequence[SceneObject]) -> np.ndarray:
    outlines = [item.outline() for item in objects]
    return np.stack([np.concatenate([corners.min(axis=0), corners.max(axis=0)]) for corners in outlines])


def _some_objects(wanted: int, rng: np.random.Generator) -> tuple[SceneObject, ...]:
    objects: list[SceneObject] = []
    # Large objects first: small ones still fit between them.
    for size in sorted(str(rng.choice(list(SIZES))) for _ in range(wanted)):
        for _ in range(_TRIES):
            shape, color = str(rng.choice(SHAPES)), str(rng.choice(list(COLORS)))
            candidate = _random_object(shape, color, size, float(rng.uniform(*SIZES[size])), _ANY_TURN, rng)
            if all(_apart(candidate, other) for other in objects):
                objects.append(candidate)
                break
    return tuple(objects)


def _random_object(
    shape: str, color: str, size: str, radius: float, turn: float, rng: np.random.Generator
) -> SceneObject:
    margin = radius * REACH[shape] + GAP / 2
    x, y = (float(value) for value in rng.uniform(margin, 1 - margin, size=2))
    return SceneObject(shape, color, size, x, y, radius, float(rng.uniform(-turn, turn)), _vary(color, rng))


def _apart(one: SceneObject, other: SceneObject) -> bool:
    distance = float(np.hypot(one.x - other.x, one.y - other.y))
    same_name = (one.size, one.color, one.shape) == (other.size, other.color, other.shape)
    return distance >= one.reach + other.reach + GAP and not same_name


def _vary(color: str, rng: np.random.Generator) -> tuple[int, int, int]:
    brightness = rng.uniform(0.85, 1.08)
    red, green, blue = np.clip(np.array(COLORS[color]) * brightness + rng.normal(0, 6, size=3), 0, 255).round()
    return int(red), int(green), int(blue)
