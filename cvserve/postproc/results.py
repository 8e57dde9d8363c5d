"""What a model says of an image, as typed values in the coordinates of the original image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np

from cvserve.postproc.object_masks import ObjectMasks

_COUNTED_AT_ONCE = 1 << 22


class Result(Protocol):
    """Any task's result."""

    task: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """The task's part of a row of `cvserve predict`, ready for JSON."""


@dataclass(frozen=True)
class ClassScore:
    """One class of an image. score: 0 to 1."""

    label: str
    index: int
    score: float


@dataclass(frozen=True)
class ClassificationResult:
    """The best classes of an image, best first; equal scores in index order."""

    classes: tuple[ClassScore, ...]
    task: ClassVar[str] = "classification"

    @property
    def best(self) -> ClassScore:
        return self.classes[0]

    def to_dict(self) -> dict[str, Any]:
        """`{"classes": [{"label", "index", "score"}, ...]}`"""
        return {
            "classes": [
                {"label": item.label, "index": item.index, "score": round(item.score, 6)} for item in self.classes
            ]
        }


@dataclass(frozen=True)
class Detection:
    """One object. box: x1, y1, x2, y2 in pixels. score: 0 to 1."""

    label: str
    index: int
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class DetectionResult:
    """The objects of an image, best first.

    boxes: float32 [N, 4] x1, y1, x2, y2 in pixels of the upright original, (0, 0) being its top left corner and
    (image_width, image_height) its bottom right one. scores: float32 [N], 0 to 1. indexes: int32 [N], classes as
    indices into `names`, which are those of all classes. masks: N of them, of the image's size; None of models that
    give boxes alone, and where nobody wants masks.
    """

    boxes: np.ndarray
    scores: np.ndarray
    indexes: np.ndarray
    names: tuple[str, ...]
    image_width: int
    image_height: int
    masks: ObjectMasks | None = None
    task: ClassVar[str] = "detection"

    def __post_init__(self) -> None:
        count = len(self.scores)
        if self.boxes.shape != (count, 4) or self.indexes.shape != (count,):
            raise ValueError(
                f"{list(self.boxes.shape)} boxes, {list(self.scores.shape)} scores and {list(self.indexes.shape)} "
                "classes do not fit"
            )
        if self.masks is not None and len(self.masks) != count:
            raise ValueError(f"{len(self.masks)} masks do not fit {count} boxes")

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detection]:
        for box, score, index in zip(self.boxes.tolist(), self.scores.tolist(), self.indexes.tolist(), strict=True):
            yield Detection(self.names[index], index, score, tuple(box))

    def __getitem__(self, chosen: np.ndarray | slice) -> DetectionResult:
        """Those that a boolean array [N], an array of indices or a slice takes."""
        return DetectionResult(
            self.boxes[chosen],
            self.scores[chosen],
            self.indexes[chosen],
            self.names,
            self.image_width,
            self.image_height,
            None if self.masks is None else self.masks[chosen],
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DetectionResult):
            return NotImplemented
        mine = (self.names, self.image_width, self.image_height, self.masks)
        return mine == (other.names, other.image_width, other.image_height, other.masks) and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in ("boxes", "scores", "indexes")
        )

    __hash__ = None  # type: ignore[assignment]

    def to_dict(self, mask_format: str = "rle") -> dict[str, Any]:
        """`{"width", "height", "detections": [{"label", "index", "score", "box": [x1, y1, x2, y2]}, ...]}`

        Where there are masks, each has a "mask" too: with "rle" as COCO writes it, `{"size": [height, width],
        "counts": a string}`; with "polygons" a list of `[x, y, x, y, ...]`; with "png" a grey PNG in base64, 255
        inside; none with "none".

        Args:
            mask_format: one of `cvserve.postproc.MASK_FORMATS`.
        """
        rows: list[dict[str, Any]] = [
            {
                "label": item.label,
                "index": item.index,
                "score": round(item.score, 6),
                "box": [round(value, 2) for value in item.box],
            }
            for item in self
        ]
        if self.masks is not None and mask_format != "none":
            from cvserve.postproc.encoded_masks import mask_to_json

            for place, row in enumerate(rows):
                row["mask"] = mask_to_json(self.masks, place, mask_format)
        return {"width": self.image_width, "height": self.image_height, "detections": rows}


@dataclass(frozen=True)
class ClassArea:
    """One class of a segmentation. coverage: share of the image, 0 to 1. confidence: mean of its pixels, 0 to 1."""

    label: str
    index: int
    coverage: float
    confidence: float


@dataclass(frozen=True, eq=False)
class SegmentationResult:
    """The class of every pixel of an image.

    class_map: uint8 [image height, image width] of the upright original, indices into `names`. confidence: float32 [C],
    the mean probability of the pixels of each class, 0 to 1; 0 of a class that is nowhere. colours: RGB of each class,
    or empty: the drawing chooses.
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
        return int(self.class_map.shape[1])

    @property
    def image_height(self) -> int:
        return int(self.class_map.shape[0])

    @cached_property
    def coverage(self) -> np.ndarray:
        """float64 [C]: the share of the image that each class covers, 0 to 1."""
        import cv2  # ten times as fast as numpy.bincount

        counts = np.zeros(256)
        # In pieces, since OpenCV counts in float32, which holds whole numbers up to 2 ** 24.
        for piece in np.array_split(self.class_map, self.class_map.size // _COUNTED_AT_ONCE + 1):
            counts += cv2.calcHist([piece], [0], None, [256], [0, 256]).reshape(-1) if piece.size else 0
        return counts[: len(self.names)] / max(self.class_map.size, 1)

    @property
    def classes(self) -> tuple[ClassArea, ...]:
        """The classes that there are, the largest first; equal ones in index order."""
        coverage, confidence = self.coverage.tolist(), self.confidence.tolist()
        there = sorted(np.flatnonzero(self.coverage).tolist(), key=lambda index: -coverage[index])
        return tuple(ClassArea(self.names[index], index, coverage[index], confidence[index]) for index in there)

    def to_dict(self, mask_format: str = "png") -> dict[str, Any]:
        """See `EncodedSegmentation.to_dict`.

        Args:
            mask_format: one of `cvserve.postproc.MASK_FORMATS`.
        """
        # At the point of use: it loads OpenCV, which the client does without.
        from cvserve.postproc.encoded import encode_segmentation

        return encode_segmentation(self, mask_format).to_dict()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SegmentationResult):
            return NotImplemented
        return (self.names, self.colors) == (other.names, other.colors) and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in ("class_map", "confidence")
        )

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class ScoredCaption:
    """A sentence about an image. log_probability: natural logarithm, 0 at most, of all its tokens together."""

    text: str
    log_probability: float


@dataclass(frozen=True, eq=False)
class Attention:
    """Where a network looked at each word of a sentence.

    words: N of them. maps: float32 [N, rows, columns], shares of the image that sum to 1 a word. box: x1, y1, x2, y2
    of what the maps cover, in pixels of the upright original; with padding it reaches beyond the image.
    """

    words: tuple[str, ...]
    maps: np.ndarray
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class CaptionResult:
    """Sentences about an image, best first; at least one.

    attention: of the best, of networks that tell it; results that come from a server have none.
    """

    captions: tuple[ScoredCaption, ...]
    attention: Attention | None = field(default=None, compare=False, repr=False)
    task: ClassVar[str] = "captioning"

    @property
    def best(self) -> ScoredCaption:
        return self.captions[0]

    def to_dict(self) -> dict[str, Any]:
        """`{"captions": [{"text", "log_probability"}, ...]}`"""
        return {
            "captions": [
                {"text": item.text, "log_probability": round(item.log_probability, 6)} for item in self.captions
            ]
        }
