"""Computes overlaps of boxes, and suppresses boxes that overlap better ones."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np


def iou_matrix(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the intersection over union of boxes [N, 4] and [M, 4]: float32 [N, M], 0 for empty boxes."""
    first, second = np.asarray(first, np.float64).reshape(-1, 4), np.asarray(second, np.float64).reshape(-1, 4)
    size = np.minimum(first[:, None, 2:], second[None, :, 2:]) - np.maximum(first[:, None, :2], second[None, :, :2])
    shared = np.prod(np.maximum(size, 0), axis=-1)
    areas = [np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=-1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0).astype(np.float32)


def nms(
    boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, iou_threshold: float, max_results: int
) -> np.ndarray:
    """Suppresses boxes that overlap better ones of their class (greedy non-maximum suppression).

    Args:
        boxes: float32 [N, 4] x1, y1, x2, y2, all of them with an area. scores: float32 [N]. classes: int [N].
        iou_threshold: a box that overlaps a better one of its class by more is dropped.
        max_results: at most so many are kept, the best of all classes.

    Returns:
        int64 indices of the kept ones, best first; of equal scores the lower index first.
    """
    order = np.argsort(-scores, kind="stable")
    # Whether a box stays depends on better boxes alone, so that of a crowded image the best part may be enough.
    for part in (order[: 2 * max_results], order):
        kept = part[_kept_of_sorted(boxes[part], classes[part], iou_threshold)]
        if len(kept) >= max_results or len(part) == len(order):
            break
    return kept[:max_results]


def _kept_of_sorted(boxes: np.ndarray, classes: np.ndarray, iou_threshold: float) -> np.ndarray:
    """Returns the places of the boxes that stay, ascending, of boxes [N, 4] sorted best first."""
    if not len(boxes):
        return np.zeros(0, np.int64)
    rectangles = boxes.astype(np.float64)
    rectangles[:, 2:] -= rectangles[:, :2]
    # OpenCV moves each class aside by the largest coordinate, which keeps classes apart only from 0 on.
    rectangles[:, :2] -= rectangles[:, :2].min(axis=0)
    # Descending ranks instead of the scores, so that ties are broken here and no threshold applies.
    ranks = np.arange(len(boxes), 0, -1, dtype=np.float32)
    # The stubs know only lists, which are slower.
    arrays: tuple[Any, Any, Any] = rectangles, ranks, classes.astype(np.int32)
    return np.sort(np.asarray(cv2.dnn.NMSBoxesBatched(*arrays, 0.0, iou_threshold), np.int64).reshape(-1))
