"""Resizes masks of R x R cells a box to masks of the original image."""

from __future__ import annotations

import numpy as np

from cvserve.postproc.object_masks import ObjectMasks, placed_run_lengths

THRESHOLD = 0.5
"""Least mask value at which a pixel belongs to the object (He et al. 2017, arXiv 1703.06870, section 3.1)."""


def paste(masks: np.ndarray, boxes: np.ndarray, height: int, width: int) -> ObjectMasks:
    """Returns the masks of the pixels whose centres lie in a box and where its mask is at least `THRESHOLD`.

    The mask is bilinear between the centres of its cells, and beyond the outer ones it stays as it is. Two products of
    matrices: large objects of large photos take milliseconds.

    Args:
        masks: float32 [N, R, R], 0 to 1. boxes: [N, 4] x1, y1, x2, y2 in pixels of the image, which they may leave.
        height, width: of the image.
    """
    counts = []
    for mask, (x1, y1, x2, y2) in zip(masks, np.asarray(boxes, np.float64).tolist(), strict=True):
        left, of_columns = _line(x1, x2, width, mask.shape[1])
        top, of_rows = _line(y1, y2, height, mask.shape[0])
        inside = of_rows @ mask @ of_columns.T >= THRESHOLD
        counts.append(placed_run_lengths(inside, left, top, height, width))
    return ObjectMasks(tuple(counts), height, width)


def _line(start: float, end: float, length: int, cells: int) -> tuple[int, np.ndarray]:
    """Returns the first pixel along one axis, and the weight of each cell in each pixel, float32 [pixels, cells]."""
    first = int(np.clip(np.ceil(start - 0.5), 0, length))
    last = int(np.clip(np.ceil(end - 0.5), first, length))
    centers = np.arange(first, last) + 0.5
    places = np.clip((centers - start) / max(end - start, 1e-9) * cells - 0.5, 0, cells - 1)
    weights = 1 - np.abs(places[:, None] - np.arange(cells))
    return first, np.maximum(weights, 0).astype(np.float32)
