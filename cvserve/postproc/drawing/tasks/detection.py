"""Draws boxes, and masks where there are some, in the colours of their classes."""

from __future__ import annotations

import numpy as np

from cvserve.postproc.drawing.boxes import Caption, draw_boxes
from cvserve.postproc.drawing.canvas import readable_copy_of
from cvserve.postproc.drawing.colors import color_of
from cvserve.postproc.drawing.instances import draw_counts, draw_instances
from cvserve.postproc.results import DetectionResult


def _draw(image: np.ndarray, result: DetectionResult) -> np.ndarray:
    canvas, factor = readable_copy_of(image, result.image_width, result.image_height)
    captions = [Caption(f"{item.label} {item.score:.2f}", color_of(item.index)) for item in result]
    if result.masks is not None:
        draw_instances(canvas, result, result.masks, factor)
    draw_boxes(canvas, result.boxes * factor, captions)
    if result.masks is not None and len(result):
        draw_counts(canvas, result)
    return canvas


DRAWING = _draw
