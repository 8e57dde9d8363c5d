"""Matches the results of a detector with the true objects, by the rules of Pascal VOC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cvserve.data.objects import Objects
from cvserve.postproc import DetectionResult
from cvserve.postproc.boxes import iou_matrix

IOU_THRESHOLD = 0.5
"""The threshold of VOC: a result finds an object if their IoU is at least this."""


@dataclass(frozen=True)
class ImageMatch:
    """Holds which of an image's N results found which of its M objects.

    object_of: int64 [N], the object that each result found; -1 where it found none.
    ignored: bool [N], results that count neither as right nor as wrong, because they match an ignored object.
    found_with: float32 [M], the score of the result that found each object; 0 for objects that were not found.
    """

    object_of: np.ndarray
    ignored: np.ndarray
    found_with: np.ndarray

    @property
    def wrong(self) -> np.ndarray:
        """Returns the false positives, bool [N]; a second result for the same object is one of them."""
        wrong: np.ndarray = (self.object_of < 0) & ~self.ignored
        return wrong


def match_image(result: DetectionResult, objects: Objects, iou_threshold: float = IOU_THRESHOLD) -> ImageMatch:
    """Matches each result, best first, with the object of its class that it overlaps most.

    The object is found if the IoU is at least the threshold and no better result has found it before; otherwise the
    result is wrong (VOCevaldet.m of the VOC development kit).
    """
    count = len(result)
    object_of = np.full(count, -1, np.int64)
    ignored = np.zeros(count, bool)
    found_with = np.zeros(len(objects), np.float32)
    if count and len(objects):
        overlaps = iou_matrix(result.boxes, objects.boxes)
        overlaps[result.indexes[:, None] != objects.labels[None, :]] = -1
        nearest = overlaps.argmax(axis=1)
        close = overlaps[np.arange(count), nearest] >= iou_threshold
        ignored = close & objects.ignored[nearest]
        taken = np.zeros(len(objects), bool)
        order = np.argsort(-result.scores, kind="stable")
        for index in order[(close & ~ignored)[order]].tolist():
            target = int(nearest[index])
            if not taken[target]:
                taken[target] = True
                object_of[index] = target
                found_with[target] = result.scores[index]
    return ImageMatch(object_of, ignored, found_with)


@dataclass(frozen=True)
class Curve:
    """Holds the precision and recall of one class for each score threshold.

    objects: how many there are. recall, precision: float64 [K], one for each result that counts, best first.
    """

    label: str
    objects: int
    recall: np.ndarray
    precision: np.ndarray

    @property
    def envelope(self) -> np.ndarray:
        """Returns the best precision at each recall or a greater one, float64 [K]."""
        return np.maximum.accumulate(self.precision[::-1])[::-1]

    @property
    def average_precision(self) -> float | None:
        """Returns the area under the envelope over all points (VOC 2010 and later); None without objects."""
        if not self.objects:
            return None
        steps = np.diff(self.recall, prepend=0.0)
        return float((steps * self.envelope).sum())


def curves(
    matches: Sequence[ImageMatch],
    results: Sequence[DetectionResult],
    objects: Sequence[Objects],
    classes: Sequence[str],
) -> list[Curve]:
    """Returns the curve of each class over all images. Equal scores count in the order of the images."""
    scores = _joined([result.scores for result in results], np.float32)
    indexes = _joined([result.indexes for result in results], np.int64)
    right = _joined([match.object_of >= 0 for match in matches], bool)
    counted = ~_joined([match.ignored for match in matches], bool)
    labels = _joined([item.labels[~item.ignored] for item in objects], np.int64)
    curves_of_classes = []
    for index, label in enumerate(classes):
        own = np.flatnonzero((indexes == index) & counted)
        hits = right[own[np.argsort(-scores[own], kind="stable")]].cumsum()
        total = int((labels == index).sum())
        curves_of_classes.append(Curve(label, total, hits / max(total, 1), hits / np.arange(1, len(hits) + 1)))
    return curves_of_classes


def _joined(parts: Sequence[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype, copy=False)
