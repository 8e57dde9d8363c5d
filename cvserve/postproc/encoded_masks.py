"""Encodes the masks of objects in one of `MASK_FORMATS`."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from cvserve.postproc.mask_formats import check_mask_format
from cvserve.postproc.masks import compress, to_png
from cvserve.postproc.object_masks import ObjectMasks
from cvserve.postproc.polygons import to_polygons

DEFAULT_FORMAT = "rle"


def mask_to_png(masks: ObjectMasks, index: int) -> bytes:
    """Returns a mask as a grey PNG of the image's size: 255 inside, 0 outside."""
    return to_png(masks.mask(index).astype(np.uint8) * 255)


def mask_to_polygons(masks: ObjectMasks, index: int) -> list[np.ndarray]:
    """Returns a mask's outlines, int64 [N, 2] each, in pixels of the image: see `to_polygons`."""
    left, top, crop = masks.crop(index)
    return [outline + np.array([left, top]) for outline in to_polygons(crop)]


def mask_to_json(masks: ObjectMasks, index: int, mask_format: str) -> Any:
    """Returns a mask ready for JSON: see `DetectionResult.to_dict`.

    Raises:
        InvalidInput: not one of MASK_FORMATS.
    """
    check_mask_format(mask_format)
    if mask_format == "rle":
        return coco_mask(masks, index)
    if mask_format == "polygons":
        return [outline.reshape(-1).tolist() for outline in mask_to_polygons(masks, index)]
    return base64.b64encode(mask_to_png(masks, index)).decode("ascii")


def coco_mask(masks: ObjectMasks, index: int) -> dict[str, Any]:
    """Returns a mask as COCO's "segmentation": {"size": [height, width], "counts": a string}."""
    return {"size": [masks.height, masks.width], "counts": compress(masks.counts[index])}
