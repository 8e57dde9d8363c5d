"""Converts the "segmentation" of COCO annotations, polygons or run lengths, to run lengths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cvserve.data.readers.coco_json import as_float, is_number
from cvserve.errors import ImageError, InvalidInput
from cvserve.extras import require
from cvserve.postproc.masks import decompress
from cvserve.postproc.object_masks import ObjectMasks

# A polygon farther out is a mistake, and pycocotools takes memory by its length.
_FARTHEST = 10


@dataclass(frozen=True)
class CocoMasks:
    """Holds the masks of one image's objects, as a file has them.

    shown: the file's name in errors. ids: of the annotations.
    """

    shown: str
    ids: Sequence[Any]
    segmentations: Sequence[Any]

    def read(self, width: int, height: int) -> ObjectMasks:
        """Returns the masks of an image of this size.

        Raises:
            ImageError: an object has no mask that can be used, or one of another size than the image.
        """
        counts: list[np.ndarray] = []
        for annotation, content in zip(self.ids, self.segmentations, strict=True):
            try:
                counts.extend(ObjectMasks((run_lengths_of(content, height, width),), height, width).counts)
            except InvalidInput as error:
                raise ImageError(self.shown, f"annotation {annotation}: {error}") from None
        return ObjectMasks(tuple(counts), height, width)


def run_lengths_of(content: Any, height: int, width: int) -> np.ndarray:
    """Returns COCO's counts, int64 [N], see `cvserve.postproc.masks`; polygons are filled as COCO's own tools do.

    Raises:
        InvalidInput: there is no segmentation, or none that can be used.
    """
    if isinstance(content, dict):
        return _of_run_lengths(content, height, width)
    if isinstance(content, list) and content:
        return _of_polygons(content, height, width)
    raise InvalidInput("it has no segmentation")


def _of_run_lengths(content: dict[str, Any], height: int, width: int) -> np.ndarray:
    counts, size = content.get("counts"), content.get("size")
    if size != [height, width]:
        raise InvalidInput(f"its run lengths are of the size {size}, not {[height, width]}")
    if isinstance(counts, str):
        return decompress(counts)
    if isinstance(counts, list) and all(isinstance(number, int) and 0 <= number < 2**31 for number in counts):
        return np.array(counts, np.int64)
    raise InvalidInput("its run lengths are neither numbers nor a string")


def _of_polygons(content: list[Any], height: int, width: int) -> np.ndarray:
    limit = _FARTHEST * max(height, width)
    for polygon in content:
        if (
            not isinstance(polygon, list)
            or len(polygon) < 6
            or len(polygon) % 2
            or not all(is_number(value) and math.isfinite(as_float(value)) for value in polygon)
        ):
            raise InvalidInput("its polygons are not lists of three or more points x, y")
        if max(abs(value) for value in polygon) > limit:
            raise InvalidInput("a polygon reaches far out of the image")
    masks = require("pycocotools.mask")
    merged = masks.merge(masks.frPyObjects(content, height, width))
    return decompress(merged["counts"])
