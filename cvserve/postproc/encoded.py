"""A segmentation as it is sent and written: figures of each class, and its pixels in one of several formats."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from cvserve.errors import InvalidInput
from cvserve.postproc.results import ClassArea, SegmentationResult

MASK_FORMATS = ("png", "rle", "polygons", "none")
"""The class map as one PNG; for each class COCO's run lengths, or polygons; or the figures alone."""


@dataclass(frozen=True, eq=False)
class EncodedSegmentation:
    """Of an image of width x height pixels.

    classes: those that there are, the largest first. mask_format: one of MASK_FORMATS. png: the class map, one byte a
    pixel; of "png" alone. masks: of "rle" and "polygons", one for each of `classes`: COCO's counts int64 [N] (see
    `cvserve.postproc.masks`), or a tuple of polygons [N, 2] (see `cvserve.postproc.polygons`).
    """

    width: int
    height: int
    classes: tuple[ClassArea, ...]
    mask_format: str
    png: bytes = b""
    masks: tuple[Any, ...] = ()
    task: ClassVar[str] = "segmentation"

    def to_dict(self) -> dict[str, Any]:
        """`{"width", "height", "segmentation": {"classes": [{"label", "index", "coverage", "confidence"}, ...]}}`

        With "png", "segmentation" has "class_map" too: the PNG in base64. With "rle", each class has a "mask" as COCO
        writes it, `{"size": [height, width], "counts": a string}`; with "polygons" a list of `[x, y, x, y, ...]`.
        """
        classes: list[dict[str, Any]] = [
            {
                "label": item.label,
                "index": item.index,
                "coverage": round(item.coverage, 6),
                "confidence": round(item.confidence, 6),
            }
            for item in self.classes
        ]
        found: dict[str, Any] = {"classes": classes}
        if self.mask_format == "png":
            found["class_map"] = base64.b64encode(self.png).decode("ascii")
        for row, mask in zip(classes, self.masks, strict=False):
            row["mask"] = self._mask(mask)
        return {"width": self.width, "height": self.height, "segmentation": found}

    def _mask(self, mask: Any) -> Any:
        if self.mask_format == "polygons":
            return [polygon.reshape(-1).tolist() for polygon in mask]
        from cvserve.postproc.masks import compress

        return {"size": [self.height, self.width], "counts": compress(mask)}

    def decode(self, colors: Sequence[tuple[int, int, int]] = ()) -> SegmentationResult:
        """The segmentation itself. Only the classes that there are have names in it; those of others are empty.

        Args:
            colours: of at least these classes, in label order.

        Raises:
            InvalidInput: the figures alone, or masks that make no class map.
        """
        class_map = self._class_map()
        if class_map.shape != (self.height, self.width):
            height, width = class_map.shape
            raise InvalidInput(f"the class map is {width} x {height}, the image {self.width} x {self.height}")
        last = max((item.index for item in self.classes), default=-1)
        if class_map.size and class_map.max() > last:
            raise InvalidInput(f"the class map has class {class_map.max()}, of which no name is given")
        names, confidence = [""] * (last + 1), np.zeros(last + 1, np.float32)
        for item in self.classes:
            names[item.index], confidence[item.index] = item.label, item.confidence
        return SegmentationResult(class_map, confidence, tuple(names), tuple(colors)[: last + 1])

    def _class_map(self) -> np.ndarray:
        from cvserve.postproc.masks import from_class_runs, from_png
        from cvserve.postproc.polygons import from_polygons

        if self.mask_format == "png":
            return from_png(self.png)
        if self.mask_format == "none":
            raise InvalidInput("there is no class map: its figures alone were asked for")
        masks = {item.index: mask for item, mask in zip(self.classes, self.masks, strict=True)}
        if self.mask_format == "rle":
            return from_class_runs(masks, self.height, self.width)
        class_map, covered = np.zeros((self.height, self.width), np.uint8), 0
        for index, polygons in masks.items():
            mask = from_polygons(polygons, self.height, self.width)
            covered += int(np.count_nonzero(mask))
            class_map[mask] = index
        if covered != class_map.size:
            raise InvalidInput("the polygons of the classes overlap, or leave pixels without a class")
        return class_map


def encode_segmentation(result: SegmentationResult, mask_format: str = "png") -> EncodedSegmentation:
    """The segmentation in one of MASK_FORMATS.

    Raises:
        InvalidInput: another format.
    """
    from cvserve.postproc.masks import class_runs, to_png
    from cvserve.postproc.polygons import class_polygons

    check_mask_format(mask_format)
    png, classes = b"", result.classes
    masks: tuple[Any, ...] = ()
    if mask_format == "png":
        png = to_png(result.class_map)
    elif mask_format == "rle":
        runs = class_runs(result.class_map)
        masks = tuple(runs[item.index] for item in classes)
    elif mask_format == "polygons":
        outlines = class_polygons(result.class_map)
        masks = tuple(tuple(outlines[item.index]) for item in classes)
    return EncodedSegmentation(result.image_width, result.image_height, classes, mask_format, png, masks)


def check_mask_format(mask_format: str) -> None:
    """
    Raises:
        InvalidInput: it is none of MASK_FORMATS.
    """
    if mask_format not in MASK_FORMATS:
        raise InvalidInput(
            f"mask_format must be {', '.join(MASK_FORMATS[:-1])} or {MASK_FORMATS[-1]}, not {mask_format!r}"
        )
