"""Proposes regions of an image from its pixels alone, for R-CNN and Fast R-CNN.

Both methods are in OpenCV's contributed modules, an extra.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from cvserve.errors import InvalidInput, MissingExtra

# Seed of the random numbers that order selective search's regions. Any number will do, but it must never change.
_SEED = 7
# Thresholds of cv2.Canny, 0 to 255: where an edge begins, and where it goes on. Edge boxes need thin edges.
_EDGE_START, _EDGE_GOES_ON = 100.0, 40.0


def find_regions(pixels: np.ndarray, method: str, count: int) -> np.ndarray:
    """Returns boxes around what may be objects.

    Args:
        pixels: uint8 RGB [H, W, 3]. method: one of `METHODS`. count: at most so many.

    Returns:
        float32 [N, 4] x1, y1, x2, y2 in pixels, best first; the same for the same image.

    Raises:
        InvalidInput: no such method. MissingExtra: OpenCV has no contributed modules.
    """
    if method not in METHODS:
        raise InvalidInput(f"there is no way to propose regions called {method!r}; known: {', '.join(METHODS)}")
    return METHODS[method](pixels, count)


def _selective_search(pixels: np.ndarray, count: int) -> np.ndarray:
    """Runs selective search (Uijlings et al. 2013): superpixels, merged by likeness; OpenCV's fast mode."""
    search = _contributed("selective search").segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(np.ascontiguousarray(pixels[:, :, ::-1]))
    search.switchToSelectiveSearchFast()
    regions = np.unique(np.asarray(search.process(), np.float64).reshape(-1, 4), axis=0)
    # The paper's order (section 3.4) is the rank in the hierarchy, large regions first, times a random number. OpenCV
    # draws those anew at each call; here they are the same for the same image.
    regions = regions[np.argsort(-regions[:, 2] * regions[:, 3], kind="stable")]
    draws = np.random.default_rng(_SEED).random(len(regions))
    order = np.argsort(np.arange(1, len(regions) + 1) * draws, kind="stable")
    return _corners(regions[order[:count]])


def _edge_boxes(pixels: np.ndarray, count: int) -> np.ndarray:
    """Finds edge boxes (Zitnick & Dollar 2014): boxes that hold whole contours.

    Edges are those of Canny, as strong as the gradient, since the paper's own detector is a model file that OpenCV does
    not bring.
    """
    boxes = _contributed("edge boxes").createEdgeBoxes()
    boxes.setMaxBoxes(count)
    smooth = cv2.GaussianBlur(pixels, (0, 0), 1.0)
    across, down = (cv2.Sobel(smooth, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    # Of each pixel the channel that changes most: red on green may be no edge at all in grey.
    strongest = np.hypot(across, down).argmax(axis=-1)[..., None]
    across, down = (np.take_along_axis(part, strongest, axis=-1)[..., 0] for part in (across, down))
    strength = np.hypot(across, down)
    strength /= max(float(strength.max()), 1e-6)
    thin = np.where(cv2.Canny(smooth, _EDGE_GOES_ON, _EDGE_START) > 0, strength, 0).astype(np.float32)
    regions, _ = boxes.getBoundingBoxes(thin, np.mod(np.arctan2(down, across), np.pi).astype(np.float32))
    return _corners(np.asarray(regions, np.float64).reshape(-1, 4)[:count])


def _contributed(what: str) -> Any:
    if not hasattr(cv2, "ximgproc"):
        raise MissingExtra(
            f"{what} is one of OpenCV's contributed modules: it needs pip install 'cvserve[proposals]', which takes "
            "the place of opencv-python-headless"
        )
    return cv2.ximgproc


def _corners(rectangles: np.ndarray) -> np.ndarray:
    """Converts (x, y, width, height) [N, 4] to float32 x1, y1, x2, y2."""
    return np.concatenate([rectangles[:, :2], rectangles[:, :2] + rectangles[:, 2:]], axis=1).astype(np.float32)


METHODS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "selective_search": _selective_search,
    "edge_boxes": _edge_boxes,
}
