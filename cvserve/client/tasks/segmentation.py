"""Reads the answers of Segment."""

from __future__ import annotations

from typing import Any

import numpy as np

from cvserve.client.masks import points_of
from cvserve.client.task_result import TaskResult
from cvserve.client.tasks.detection import objects
from cvserve.postproc.results import ClassArea, DetectionResult, EncodedSegmentation, Result, SegmentationResult


def segmented(response: Any) -> SegmentationResult | DetectionResult:
    """Returns the typed result in a cvserve.v1.SegmentResponse: a class map, or objects with masks."""
    value = segmentation(response)
    return value if isinstance(value, DetectionResult) else value.decode()


def segmentation(response: Any) -> EncodedSegmentation | DetectionResult:
    """Returns the typed value in a cvserve.v1.SegmentResponse. The fields that are set show the mask format."""
    if response.HasField("instances"):
        return objects(response.instances.objects, response.image_width, response.image_height)
    classes = tuple(ClassArea(item.label, item.index, item.area, item.score) for item in response.masks)
    size = (response.image_width, response.image_height)
    if response.HasField("class_map"):
        return EncodedSegmentation(*size, classes, "png", response.class_map.png)
    kind = response.masks[0].mask.WhichOneof("format") if response.masks else None
    if kind == "run_lengths":
        counts = tuple(np.array(item.mask.run_lengths.counts, np.int64) for item in response.masks)
        return EncodedSegmentation(*size, classes, "rle", masks=counts)
    if kind == "polygons":
        outlines = tuple(
            tuple(points_of(polygon.points) for polygon in item.mask.polygons.polygons) for item in response.masks
        )
        return EncodedSegmentation(*size, classes, "polygons", masks=outlines)
    return EncodedSegmentation(*size, classes, "none")


def _segmented(response: Any) -> Result:
    value = segmentation(response)
    if isinstance(value, DetectionResult) or value.mask_format == "none":
        return value
    return value.decode()


RESULT = TaskResult("segmentation", _segmented, slow=True)
