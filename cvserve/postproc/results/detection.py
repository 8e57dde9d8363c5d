"""Defines the result of detection: the objects of an image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from cvserve.postproc.object_masks import ObjectMasks


@dataclass(frozen=True)
class Detection:
    """Holds one object. box: x1, y1, x2, y2 in pixels. score: 0 to 1."""

    label: str
    index: int
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class DetectionResult:
    """Holds the objects of an image, best first.

    boxes: float32 [N, 4] x1, y1, x2, y2 in pixels of the upright original, (0, 0) being its top left corner and
    (image_width, image_height) its bottom right one. scores: float32 [N], 0 to 1. indexes: int32 [N], classes as
    indices into `names`, which are those of all classes. masks: N of them, of the image's size; None of models without
    masks, and where masks were not asked for.
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
        """Returns the objects that a boolean array [N], an array of indices or a slice selects."""
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
        own = (self.names, self.image_width, self.image_height, self.masks)
        return own == (other.names, other.image_width, other.image_height, other.masks) and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in ("boxes", "scores", "indexes")
        )

    __hash__ = None  # type: ignore[assignment]

    def to_dict(self, mask_format: str = "rle") -> dict[str, Any]:
        """Returns `{"width", "height", "detections": [{"label", "index", "score", "box": [x1, y1, x2, y2]}, ...]}`.

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
