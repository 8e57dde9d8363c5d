"""Augmentation that moves boxes with the pixels: one affine map a picture, and mosaics of four."""

from __future__ import annotations

import cv2
import numpy as np

from cvserve.data.augment import Augmentation, colour_matrix

LEAST_VISIBLE = 0.25
"""Boxes of which less is left in the picture are dropped (YOLOv5 asks for 0.1, when a quarter is hardly to be told)."""

LEAST_PIXELS = 2.0

Example = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Pixels uint8 RGB [H, W, 3], boxes float32 [N, 4] x1, y1, x2, y2, labels int32 [N]."""


def augment_example(
    example: Example, augmentation: Augmentation, fill: tuple[int, int, int], rng: np.random.Generator
) -> Example:
    """One picture and its boxes, turned, scaled and moved by chance; the size stays."""
    pixels, boxes, labels = example
    height, width = pixels.shape[:2]
    matrix = _about_centre(augmentation, width, height, rng)
    shift = rng.uniform(-1, 1, size=2) * augmentation.translate * (width, height)
    matrix[:, 2] += shift
    if not np.array_equal(matrix, [[1, 0, 0], [0, 1, 0]]):
        pixels = cv2.warpAffine(pixels, matrix, (width, height), borderMode=cv2.BORDER_CONSTANT, borderValue=fill)
        boxes, labels = move_boxes(boxes, labels, matrix, width, height)
    return coloured(pixels, augmentation, rng), boxes, labels


def mosaic(
    examples: list[Example], augmentation: Augmentation, fill: tuple[int, int, int], rng: np.random.Generator
) -> Example:
    """Four pictures around a point by chance on one canvas of the size of one (Bochkovskiy et al. 2020, YOLOv4)."""
    height, width = examples[0][0].shape[:2]
    canvas = np.full((height, width, 3), fill, np.uint8)
    centre = rng.uniform(0.25, 0.75, size=2) * (width, height)
    boxes, labels = [], []
    for index, (pixels, own_boxes, own_labels) in enumerate(examples):
        matrix = _about_centre(augmentation, width, height, rng)
        # Its corner at the point, and nothing of it beyond: left or right, above or below.
        corners = _transform(np.array([[0, 0], [width, height], [width, 0], [0, height]], np.float64), matrix)
        low, high = corners.min(axis=0), corners.max(axis=0)
        right, below = index % 2, index // 2
        matrix[:, 2] += centre - (low[0] if right else high[0], low[1] if below else high[1])
        left, top = (round(centre[0]) if right else 0), (round(centre[1]) if below else 0)
        end_x, end_y = (width if right else round(centre[0])), (height if below else round(centre[1]))
        part = matrix.copy()
        part[:, 2] -= left, top
        canvas[top:end_y, left:end_x] = cv2.warpAffine(
            pixels, part, (end_x - left, end_y - top), borderMode=cv2.BORDER_CONSTANT, borderValue=fill
        )
        moved, kept = move_boxes(own_boxes, own_labels, matrix, width, height, (left, top, end_x, end_y))
        boxes.append(moved)
        labels.append(kept)
    return coloured(canvas, augmentation, rng), np.concatenate(boxes), np.concatenate(labels)


def move_boxes(
    boxes: np.ndarray,
    labels: np.ndarray,
    matrix: np.ndarray,
    width: int,
    height: int,
    window: tuple[int, int, int, int] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes under an affine map that keeps axes, clipped to the picture (or a window of it).

    Args:
        boxes: float32 [N, 4]. matrix: float64 [2, 3], from old pixel edges to new ones.

    Returns:
        boxes and labels of those of which at least `LEAST_VISIBLE` can still be seen.
    """
    if not len(boxes):
        return boxes, labels
    # warpAffine maps centres of pixels, boxes lie at their edges: half a pixel each way.
    corners = _transform(boxes.reshape(-1, 2).astype(np.float64) - 0.5, matrix).reshape(-1, 2, 2) + 0.5
    moved = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    left, top, right, bottom = window or (0, 0, width, height)
    clipped = np.clip(moved, (left, top, left, top), (right, bottom, right, bottom))
    size, whole = clipped[:, 2:] - clipped[:, :2], moved[:, 2:] - moved[:, :2]
    seen = (size.min(axis=1) >= LEAST_PIXELS) & (size.prod(axis=1) >= LEAST_VISIBLE * whole.prod(axis=1))
    return clipped[seen].astype(np.float32), labels[seen]


def coloured(pixels: np.ndarray, augmentation: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """uint8 RGB [H, W, 3] in other colours by chance."""
    if not augmentation.has_colour:
        return pixels
    return cv2.transform(pixels, colour_matrix(augmentation, cv2.mean(pixels)[:3], rng))


def _about_centre(augmentation: Augmentation, width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """float64 [2, 3]: flips, half turns and a scale about the centre of the picture, between centres of pixels."""
    low, high = augmentation.scale
    scale = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    flip, vertical, turn = rng.random(3) < (augmentation.flip, augmentation.vertical_flip, augmentation.half_turn)
    x = scale * (-1 if flip != turn else 1)
    y = scale * (-1 if vertical != turn else 1)
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    return np.array([[x, 0, centre_x - x * centre_x], [0, y, centre_y - y * centre_y]])


def _transform(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]
