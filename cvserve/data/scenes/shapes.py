"""Defines the objects of scenes: their shapes, colours and sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np


def _ring(count: int, radius: float = 1.0, start: float = -90.0) -> np.ndarray:
    """Returns `count` points on a circle, the first at `start` degrees (-90 is up, since y points down)."""
    angles = np.radians(start + np.arange(count) * 360.0 / count)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius


def _star() -> np.ndarray:
    points = np.empty((10, 2))
    points[0::2] = _ring(5)
    points[1::2] = _ring(5, radius=0.45, start=-54.0)
    return points


def _cross(arm: float = 0.34) -> np.ndarray:
    corner = np.array([(-arm, -1), (arm, -1), (arm, -arm)])
    quarter_turn = np.array([[0, -1], [1, 0]])
    return np.concatenate([corner @ np.linalg.matrix_power(quarter_turn, turn).T for turn in range(4)])


def _heart() -> np.ndarray:
    # The heart curve of https://mathworld.wolfram.com/HeartCurve.html (the one with four cosines), y turned down.
    t = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([x, -y], axis=1)


def _area(points: np.ndarray) -> float:
    x, y = points[:, 0], points[:, 1]
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def _same_area(points: np.ndarray) -> np.ndarray:
    """Scales to the area of the unit circle, so that "large" means the same for each shape, and centres the points."""
    (x, y), _ = cv2.minEnclosingCircle(points.astype(np.float32))
    return (points - (x, y)) * np.sqrt(np.pi / _area(points))


# Sorted by name, as the classes of a folder are, so that scenes written to a folder keep their labels.
OUTLINES: Mapping[str, np.ndarray] = {
    "circle": _same_area(_ring(72)),
    "cross": _same_area(_cross()),
    "heart": _same_area(_heart()),
    "square": _same_area(_ring(4, start=-45.0)),
    "star": _same_area(_star()),
    "triangle": _same_area(_ring(3)),
}
SHAPES: tuple[str, ...] = tuple(OUTLINES)

# The farthest point of each outline from its centre: no rotation reaches beyond it.
REACH: Mapping[str, float] = {name: float(np.linalg.norm(points, axis=1).max()) for name, points in OUTLINES.items()}

# RGB values that stay apart under the random variation of `layout`.
COLORS: Mapping[str, tuple[int, int, int]] = {
    "blue": (45, 90, 215),
    "green": (40, 165, 70),
    "orange": (245, 135, 25),
    "pink": (245, 130, 185),
    "red": (210, 35, 40),
    "yellow": (245, 215, 50),
}

# Radius of the circle of the same area, as a fraction of the image's side. The gap between the two makes the words
# exact.
SIZES: Mapping[str, tuple[float, float]] = {"large": (0.13, 0.18), "small": (0.065, 0.095)}


def outline(shape: str, x: float, y: float, radius: float, angle: float) -> np.ndarray:
    """Returns the corners [K, 2] (x, y) of a shape, in the units of x, y and radius.

    Args:
        radius: of the circle of the same area. angle: degrees, clockwise.
    """
    turn = np.radians(angle)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return OUTLINES[shape] @ rotation.T * radius + (x, y)


@dataclass(frozen=True)
class SceneObject:
    """Holds one object of a scene.

    size: "small" or "large"; "" for the single object of a classification scene, which may have any size. x, y, radius:
    the centre, and the radius of the circle of the same area, as fractions of the image's side. angle: degrees,
    clockwise. rgb: its colour, a variation of the named one.
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
        """Returns the corners [K, 2] (x, y), as fractions of the image's side."""
        return outline(self.shape, self.x, self.y, self.radius, self.angle)

    @property
    def reach(self) -> float:
        """Returns the radius of the circle around (x, y) that contains the object however it is turned."""
        return self.radius * REACH[self.shape]
