"""Checks boxes as annotators leave them: which can be used, which are clipped, which are dropped and why."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from cvserve.data.problems import Problem, first_few

_log = logging.getLogger(__name__)

LEAST_INSIDE = 0.5
"""Least fraction of a box's area that must be in the image; other boxes are taken for mistakes and dropped."""

# Rounding to whole pixels and floats of text files reach this far beyond the border: clipped without a warning.
_ROUNDING = 1.0


@dataclass
class BoxReport:
    """Collects what was done to the boxes of a split.

    dropped: those left out. clipped: those that reached out of their images by more than a pixel, and were cut at the
    border.
    """

    dropped: list[Problem] = field(default_factory=list)
    clipped: list[Problem] = field(default_factory=list)


def log_boxes(origin: str, dropped: Sequence[Problem], clipped: Sequence[Problem]) -> None:
    """Warns of what was dropped and clipped, in one line (log "cvserve.data.readers.boxes")."""
    parts = []
    if dropped:
        parts.append(f"{len(dropped)} boxes are left out: {first_few(dropped)}")
    if clipped:
        parts.append(f"{len(clipped)} boxes are clipped to their images: {first_few(clipped)}")
    if parts:
        _log.warning("%s: %s", origin, "; ".join(parts))


def check_boxes(
    boxes: np.ndarray | Sequence[Sequence[float]],
    size: tuple[int, int] | None,
    image: str,
    names: Sequence[str],
    report: BoxReport,
) -> tuple[np.ndarray, np.ndarray]:
    """Clips the boxes of one image to it, and drops those that cannot be used.

    Args:
        boxes: float64 [N, 4] x1, y1, x2, y2 in pixels of the upright image.
        size: (width, height) of the image in pixels; None where it is not known.
        image: the name of the image in reports.
        names: the name of each box in reports.
        report: gets what is dropped and clipped.

    Returns:
        float32 [K, 4] the usable boxes, and int64 [K] their indices among the N.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    limit = np.array((size or (np.inf, np.inf)) * 2, np.float64)
    usable: list[int] = []
    clipped = np.clip(boxes, 0, limit)
    for index, (box, inside) in enumerate(zip(boxes, clipped, strict=True)):
        reason = _fault(box, inside, size)
        if reason:
            report.dropped.append(Problem(image, f"{names[index]} {_text(box)}", reason))
            continue
        if (beyond := float(np.abs(box - inside).max())) > _ROUNDING:
            reason = f"reaches {beyond:.3g} pixels out of it"
            report.clipped.append(Problem(image, f"{names[index]} {_text(box)}", reason))
        usable.append(index)
    return clipped[usable].astype(np.float32), np.array(usable, np.int64)


def _fault(box: np.ndarray, inside: np.ndarray, size: tuple[int, int] | None) -> str:
    """Returns why a box cannot be used; "" where it can."""
    if not np.isfinite(box).all():
        return "is not finite"
    width, height = box[2:] - box[:2]
    if width <= 0 or height <= 0:
        return f"is empty ({width:g} x {height:g} pixels)"
    visible = inside[2:] - inside[:2]
    where = "its image" if size is None else f"its image of {size[0]} x {size[1]} pixels"
    if visible.min() <= 0:
        return f"lies outside of {where}"
    if visible.prod() < LEAST_INSIDE * width * height:
        return f"lies mostly outside of {where}"
    return ""


def _text(box: np.ndarray) -> str:
    return f"[{', '.join(f'{value:.6g}' for value in box)}]"
