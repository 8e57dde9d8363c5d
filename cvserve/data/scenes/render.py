"""Renders the pixels and masks of a scene."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from cvserve.data.scenes.shapes import SceneObject

# Sub-pixels per side in which outlines are drawn; their mean is how much of a pixel an object covers. fillPoly fills
# all sub-pixels that the outline touches, so that objects come out 1/32 of a pixel too large at each side.
_FINE = 16


def coverage(item: SceneObject, size: int) -> np.ndarray:
    """Returns how much of each pixel the object covers: uint8 [size, size], 255 is all of it."""
    outline = item.outline() * size
    left, top = np.floor(outline.min(axis=0)).astype(int)
    right, bottom = np.ceil(outline.max(axis=0)).astype(int)
    canvas = np.zeros(((bottom - top) * _FINE, (right - left) * _FINE), np.uint8)
    # fillPoly counts from the centre of the first sub-pixel, here in 1/16 of one.
    corners = np.round(((outline - (left, top)) * _FINE - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(canvas, [corners], 255, shift=4)
    covered = np.zeros((size, size), np.uint8)
    covered[top:bottom, left:right] = cv2.resize(canvas, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
    return covered


def draw_ground(size: int, rng: np.random.Generator) -> np.ndarray:
    """Draws a textured ground in two muted colours, with a few strokes over it: float32 [size, size, 3], 0 to 255."""
    base, other = _muted(rng), _muted(rng)
    weight = _cloud(size, rng)[..., None]
    ground = base * (1 - weight) + other * weight
    pattern = rng.integers(3)
    if pattern == 1:
        ground += _stripes(size, rng)[..., None] * rng.uniform(6, 16)
    elif pattern == 2:
        ground += (_cloud(size, rng, finest=True)[..., None] - 0.5) * rng.uniform(20, 50)
    for _ in range(int(rng.integers(2, 7))):
        start, end = rng.integers(0, size, size=(2, 2))
        shade = np.clip(_muted(rng) + rng.uniform(-40, 40), 0, 255)
        thickness = max(1, round(size * rng.uniform(0.005, 0.025)))
        cv2.line(ground, start.tolist(), end.tolist(), shade.tolist(), thickness, cv2.LINE_AA)
    return ground


def render(
    objects: Sequence[SceneObject], size: int, rng: np.random.Generator, noise: float = 6.0
) -> tuple[np.ndarray, np.ndarray]:
    """Draws a scene.

    The ground and the noise depend on `rng` and `size` alone, not on the objects, so that pixels which no object
    touches are the same with and without it.

    Args:
        objects: from `layout`; they do not overlap.
        size: pixels per side.
        noise: standard deviation of the sensor noise, of 255; one of 0 to `noise` is drawn for the image.

    Returns:
        image: uint8 RGB [size, size, 3]. masks: bool [N, size, size], the pixels covered at least to one half.
    """
    ground_rng, noise_rng, surface_rng = rng.spawn(3)
    image = draw_ground(size, ground_rng)
    masks = np.zeros((len(objects), size, size), bool)
    for index, item in enumerate(objects):
        covered = coverage(item, size)
        masks[index] = covered >= 128
        alpha = (covered.astype(np.float32) / 255)[..., None]
        image += alpha * (_surface(item, size, surface_rng) - image)
    image += noise_rng.uniform(0, noise) * noise_rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(np.round(image), 0, 255).astype(np.uint8), masks


def boxes_of(masks: np.ndarray) -> np.ndarray:
    """Returns the tight boxes of masks: bool [N, H, W] to float32 [N, 4] x1, y1, x2, y2.

    x2 and y2 are just past the last pixel. Every mask must have a pixel.
    """
    boxes = np.zeros((len(masks), 4), np.float32)
    for index, mask in enumerate(masks):
        columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        boxes[index] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return boxes


def _muted(rng: np.random.Generator) -> np.ndarray:
    """Draws a colour of low saturation, RGB float32: objects differ from it by hue where not by brightness."""
    return (rng.uniform(50, 195) + rng.normal(0, 13, size=3)).astype(np.float32)


def _cloud(size: int, rng: np.random.Generator, finest: bool = False) -> np.ndarray:
    """Draws smooth noise of several scales, float32 [size, size] from 0 to 1."""
    total = np.zeros((size, size), np.float32)
    for octave, cells in enumerate((16, 32) if finest else (2, 4, 8)):
        grid = rng.random((cells + 1, cells + 1), dtype=np.float32)
        total += cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC) / 2**octave
    low, high = float(total.min()), float(total.max())
    return (total - low) / max(high - low, 1e-6)


def _stripes(size: int, rng: np.random.Generator) -> np.ndarray:
    """Draws soft stripes at any angle, float32 [size, size] from -1 to 1."""
    angle, waves = rng.uniform(0, np.pi), rng.uniform(3, 9)
    axis = np.arange(size, dtype=np.float32) / size
    along = axis[None] * np.cos(angle) + axis[:, None] * np.sin(angle)
    return np.sin(2 * np.pi * (waves * along + rng.random())).astype(np.float32)


def _surface(item: SceneObject, size: int, rng: np.random.Generator) -> np.ndarray:
    """Returns the object's colour over the whole canvas, lit from one side: float32 [size, size, 3]."""
    angle = rng.uniform(0, 2 * np.pi)
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    light = (axis[None] - item.x) * np.cos(angle) + (axis[:, None] - item.y) * np.sin(angle)
    shade = 1 + 0.18 * np.clip(light / item.reach, -1, 1) + 0.08 * (_cloud(size, rng) - 0.5)
    return np.asarray(item.rgb, np.float32) * shade[..., None].astype(np.float32)
