"""Decodes a graph's box offsets into boxes, with numpy, for every runtime, for evaluation and for losses."""

from __future__ import annotations

import functools

import numpy as np

from cvserve.artifact import BoxCoding
from cvserve.errors import ArtifactError

MOST_LOG_SCALE = 4.1
"""Limit of tw and th: 60 times the anchor. Larger values could overflow (Detectron clips at log(1000 / 16) = 4.1)."""


@functools.lru_cache(maxsize=64)
def cells(coding: BoxCoding, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the cells that "distances" and "grid" boxes are relative to, in the order of the graph's boxes.

    Args:
        height, width: of the graph's input, pixels.

    Returns:
        Two read-only float32 [A, 2] (x, y) in pixels: the reference points (centres of the cells; for "grid" their top
        left corners), and the sizes of the cells.
    """
    points, sizes = [], []
    shift = 0.0 if coding.kind == "grid" else 0.5
    for level in coding.levels:
        size = np.array([width / level.columns, height / level.rows])
        x, y = np.meshgrid(np.arange(level.columns) + shift, np.arange(level.rows) + shift)
        grid = np.stack([x, y], axis=-1).reshape(-1, 2).repeat(coding.boxes_per_cell, axis=0)
        points.append(grid * size)
        sizes.append(np.broadcast_to(size, grid.shape))
    return _fixed(np.concatenate(points)), _fixed(np.concatenate(sizes))


@functools.lru_cache(maxsize=64)
def anchors(coding: BoxCoding, height: int, width: int) -> np.ndarray:
    """Returns the reference boxes of "deltas" with levels: read-only float32 [A, 4] in pixels, not clipped."""
    parts = []
    for level in coding.levels:
        x, y = np.meshgrid(
            (np.arange(level.columns) + 0.5) * width / level.columns,
            (np.arange(level.rows) + 0.5) * height / level.rows,
        )
        centers = np.stack([x, y], axis=-1).reshape(-1, 1, 2)
        half = np.array(level.anchors).reshape(1, -1, 2) / 2
        parts.append(np.concatenate([centers - half, centers + half], axis=-1).reshape(-1, 4))
    return _fixed(np.concatenate(parts))


def decode_boxes(
    offsets: np.ndarray,
    coding: BoxCoding,
    height: int,
    width: int,
    proposals: np.ndarray | None = None,
    chosen: np.ndarray | None = None,
) -> np.ndarray:
    """Returns boxes in pixels of the graph's input, not clipped. See `BoxCoding` for the formulas.

    Args:
        offsets: float32 [..., A, 4], or [..., N, 4] of the `chosen` ones.
        height, width: of the graph's input.
        proposals: float32 [..., A, 4], or of the chosen ones, where the coding has no levels.
        chosen: int [N], which of the A boxes `offsets` are; None: all, in order.

    Returns:
        float32, of the shape of `offsets`, x1, y1, x2, y2.

    Raises:
        ArtifactError: another number of boxes than the coding has.
    """

    def picked(reference: np.ndarray) -> np.ndarray:
        if chosen is not None:
            return reference[chosen]
        if offsets.shape[-2] != len(reference):
            raise ArtifactError(f"the graph gave {offsets.shape[-2]} boxes, its box coding has {len(reference)}")
        return reference

    if coding.kind == "distances":
        points, sizes = (picked(part) for part in cells(coding, height, width))
        return np.concatenate([points - offsets[..., :2] * sizes, points + offsets[..., 2:] * sizes], axis=-1)
    if coding.kind == "grid":
        points, sizes = (picked(part) for part in cells(coding, height, width))
        centers = points + offsets[..., :2] * sizes
        half = np.square(offsets[..., 2:]) * np.array([width, height], np.float32) / 2
        return np.concatenate([centers - half, centers + half], axis=-1)
    if coding.levels:
        reference = picked(anchors(coding, height, width))
    elif proposals is None:
        raise ArtifactError("boxes relative to proposals need the graph's output of role proposals")
    else:
        reference = proposals
    return decode_deltas(offsets, reference, coding.variances)


def decode_deltas(
    offsets: np.ndarray, reference: np.ndarray, variances: tuple[float, float, float, float]
) -> np.ndarray:
    """Returns the boxes x1, y1, x2, y2 of (tx, ty, tw, th) [..., 4] relative to reference boxes [..., 4]."""
    size = reference[..., 2:] - reference[..., :2]
    scaled = offsets * np.array(variances, np.float32)
    centers = reference[..., :2] + size / 2 + scaled[..., :2] * size
    half = size * np.exp(np.minimum(scaled[..., 2:], MOST_LOG_SCALE)) / 2
    return np.concatenate([centers - half, centers + half], axis=-1).astype(np.float32)


def _fixed(values: np.ndarray) -> np.ndarray:
    values = np.ascontiguousarray(values, np.float32)
    values.setflags(write=False)
    return values
