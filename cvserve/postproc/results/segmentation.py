"""Defines the result of segmentation: the class of every pixel, also encoded for a file or a message."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from cvserve.errors import InvalidInput
from cvserve.postproc.mask_formats import check_mask_format

# Pixels that are counted in one call: see `SegmentationResult.coverage`.
_COUNTED_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class ClassArea:
    """Holds one class of a segmentation. coverage: share of the image. confidence: mean of its pixels. Both 0 to 1."""

    label: str
    index: int
    coverage: float
    confidence: float


@dataclass(frozen=True, eq=False)
class SegmentationResult:
    """Holds the class of every pixel of an image.
    class_map: uint8 [image height, image width] of the upright original, indices into `names`. confidence: float32 [C],
    the mean probability of the pixels of each class, 0 to 1; 0 of a class without pixels. colours: RGB of each class,
    or empty: the drawing chooses them.
    """

    class_map: np.ndarray
    confidence: np.ndarray
    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...] = ()
    task: ClassVar[str] = "segmentation"

    def __post_init__(self) -> None:
        if self.class_map.ndim != 2 or self.class_map.dtype != np.uint8:
            raise ValueError(f"a class map is uint8 [H, W], not {self.class_map.dtype} {list(self.class_map.shape)}")
        if self.confidence.shape != (len(self.names),):
            raise ValueError(f"{list(self.confidence.shape)} confidences do not fit {len(self.names)} classes")

    @property
    def image_width(self) -> int:
        """Returns the width of the image in pixels."""
        return int(self.class_map.shape[1])

    @property
    def image_height(self) -> int:
        """Returns the height of the image in pixels."""
        return int(self.class_map.shape[0])

    @cached_property
    def coverage(self) -> np.ndarray:
        """Returns the share of the image that each class covers, 0 to 1: float64 [C]."""
        import cv2  # ten times as fast as numpy.bincount

        counts = np.zeros(256)
        # In pieces, since OpenCV counts in float32, which holds whole numbers up to 2 ** 24.
        for piece in np.array_split(self.class_map, self.class_map.size // _COUNTED_AT_ONCE + 1):
            counts += cv2.calcHist([piece], [0], None, [256], [0, 256]).reshape(-1) if piece.size else 0
        return counts[: len(self.names)] / max(self.class_map.size, 1)

    @property
    def classes(self) -> tuple[ClassArea, ...]:
        """Returns the classes that occur, the largest first; equal ones in index order."""
        coverage, confidence = self.coverage.tolist(), self.confidence.tolist()
        there = sorted(np.flatnonzero(self.coverage).tolist(), key=lambda index: -coverage[index])
        return tuple(ClassArea(self.names[index], index, coverage[index], confidence[index]) for index in there)

    def to_dict(self, mask_format: str = "png") -> dict[str, Any]:
        """Returns the same as `EncodedSegmentation.to_dict`.

        Args:
            mask_format: one of `cvserve.postproc.MASK_FORMATS`.
        """
        return encode_segmentation(self, mask_format).to_dict()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SegmentationResult):
            return NotImplemented
        return (self.names, self.colors) == (other.names, other.colors) and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in ("class_map", "confidence")
        )

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, eq=False)
class EncodedSegmentation:
    """Holds an encoded segmentation of an image of width x height pixels.

    classes: those that occur, the largest first. mask_format: one of MASK_FORMATS. png: the class map, one byte a
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
        """Returns `{"width", "height", "segmentation": {"classes": [...]}}`.

        Each class has "label", "index", "coverage" and "confidence". With "png", "segmentation" has "class_map" too,
        the PNG in base64. With "rle", each class has a "mask" as COCO writes it, `{"size": [height, width], "counts": a
        string}`; with "polygons" a list of `[x, y, x, y, ...]`.
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
        """Returns the segmentation. Only the classes that occur have names in it; the names of others are empty.

        Args:
            colours: of at least these classes, in label order.

        Raises:
            InvalidInput: there are no masks, or they do not make a class map.
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
            raise InvalidInput("there is no class map: the request had mask_format none")
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
    """Encodes the segmentation in one of MASK_FORMATS.

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
