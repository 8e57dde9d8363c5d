"""Reads the answers of Detect, and those of Segment from models whose objects have masks."""

from __future__ import annotations

from typing import Any

import numpy as np

from cvserve import errors
from cvserve.client.masks import points_of
from cvserve.client.task_result import TaskResult
from cvserve.postproc.object_masks import ObjectMasks, placed_run_lengths
from cvserve.postproc.results import DetectionResult


def detection(response: Any) -> DetectionResult:
    """Returns the typed result in a cvserve.v1.DetectResponse, with masks if it has any.

    Masks that were sent as PNG need OpenCV. The message has only the names of the classes of its objects; the names of
    other classes are empty.
    """
    return objects(response.objects, response.image_width, response.image_height)


def objects(items: Any, width: int, height: int) -> DetectionResult:
    """Returns the typed result of a field of cvserve.v1.DetectedObject, for an image of width x height pixels."""
    names = [""] * (max((item.index for item in items), default=-1) + 1)
    for item in items:
        names[item.index] = item.label
    boxes = [(item.box.x_min, item.box.y_min, item.box.x_max, item.box.y_max) for item in items]
    return DetectionResult(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array([item.score for item in items], np.float32),
        np.array([item.index for item in items], np.int32),
        tuple(names),
        width,
        height,
        _object_masks(items, width, height),
    )


def _object_masks(items: Any, width: int, height: int) -> ObjectMasks | None:
    if not items or not all(item.HasField("mask") for item in items):
        return None
    return ObjectMasks(tuple(_counts(item.mask, width, height) for item in items), height, width)


def _counts(mask: Any, width: int, height: int) -> np.ndarray:
    kind = mask.WhichOneof("format")
    if kind == "run_lengths":
        return np.array(mask.run_lengths.counts, np.int64)
    if kind == "polygons":
        from cvserve.postproc.polygons import from_polygons

        pixels = from_polygons([points_of(polygon.points) for polygon in mask.polygons.polygons], height, width)
    else:
        from cvserve.postproc.masks import from_png

        pixels = from_png(mask.png) > 0
    if pixels.shape != (height, width):
        raise errors.InvalidInput(
            f"a mask is {pixels.shape[1]} x {pixels.shape[0]} pixels, but the image {width} x {height}"
        )
    return placed_run_lengths(pixels, 0, 0, height, width)


RESULT = TaskResult("detection", detection)
