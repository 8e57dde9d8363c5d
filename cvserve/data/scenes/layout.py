"""What stands where in a scene, in shares of the image's side. Nothing touches or hides anything else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cvserve.artifact.specs import Task
from cvserve.data.scenes.describe import is_beyond_doubt
from cvserve.data.scenes.shapes import COLORS, REACH, SHAPES, SIZES, outline

# Between the bounding circles of two objects, and to the border: over one pixel at 32 x 32, so that not even the
# antialiased rims meet.
GAP = 0.04

_OBJECTS: dict[Task, tuple[int, int]] = {
    "classification": (1, 1),
    "detection": (1, 5),
    "segmentation": (1, 5),
    "captioning": (1, 3),
}
# A single object varies more in size, but is turned by at most 20 degrees, so that a small network learns the shapes in
# a minute or two. One run each of resnet20 (32 x 32 pixels, 2400 images an epoch, 10 epochs of AdamW at 0.003 with
# warm-up): val top-1 0.99 after 8 epochs; with any turn, even on a bare ground and with larger objects, 0.74 after 10.
_SINGLE_SIZE = (0.13, 0.27)
_SINGLE_TURN = 20.0
_ANY_TURN = 180.0
_TRIES = 60
_LAYOUTS = 50
"""Tries to find one beyond doubt; half of those of three objects are."""


@dataclass(frozen=True)
class SceneObject:
    """One object. x, y, radius: shares of the image's side. rgb: its colour, a variation of the named one.

    radius: of the circle of the same area. size: "small" or "large"; "" for the single object of a classification
    scene, whose size is anything. angle: degrees, clockwise.
    """

    shape: str
    color: str
    size: str
    x: float
    y: float
    radius: float
    angle: float
    rgb: tuple[int, int, int]

    def outline(self) -> np.ndarray:
        """The corners [K, 2] (x, y), in shares of the image's side."""
        return outline(self.shape, self.x, self.y, self.radius, self.angle)

    @property
    def reach(self) -> float:
        """Radius of the circle around (x, y) that holds the object however it is turned."""
        return self.radius * REACH[self.shape]


def single_object(shape: str, rng: np.random.Generator) -> tuple[SceneObject, ...]:
    """The layout of a classification scene: one object of this shape, anything else by chance."""
    color = str(rng.choice(list(COLORS)))
    radius = float(rng.uniform(*_SINGLE_SIZE))
    return (_place(shape, color, "", radius, _SINGLE_TURN, rng),)


def several_objects(task: Task, rng: np.random.Generator) -> tuple[SceneObject, ...]:
    """The layout of a scene with as many objects as the task has, no two of the same size, colour and shape.

    Where there is no room, there are fewer objects, at least one. What sentences say of a captioning scene is beyond
    doubt: layouts that are not are drawn anew.
    """
    lowest, highest = _OBJECTS[task]
    wanted = int(rng.integers(lowest, highest + 1))
    for _ in range(_LAYOUTS):
        objects = _some_objects(wanted, rng)
        if task != "captioning" or is_beyond_doubt(np.stack([_box(item) for item in objects])):
            break
    return objects


def _box(item: SceneObject) -> np.ndarray:
    corners = item.outline()
    return np.concatenate([corners.min(axis=0), corners.max(axis=0)])


def _some_objects(wanted: int, rng: np.random.Generator) -> tuple[SceneObject, ...]:
    objects: list[SceneObject] = []
    # Large ones first: what is small still fits between them.
    for size in sorted(str(rng.choice(list(SIZES))) for _ in range(wanted)):
        for _ in range(_TRIES):
            shape, color = str(rng.choice(SHAPES)), str(rng.choice(list(COLORS)))
            candidate = _place(shape, color, size, float(rng.uniform(*SIZES[size])), _ANY_TURN, rng)
            if all(_apart(candidate, other) for other in objects):
                objects.append(candidate)
                break
    return tuple(objects)


def _place(shape: str, color: str, size: str, radius: float, turn: float, rng: np.random.Generator) -> SceneObject:
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
