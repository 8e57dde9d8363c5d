"""Draws the images on which a detector did worst on one page: objects that it missed, and wrong results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cvserve.data.objects import Objects
from cvserve.evaluation.matching import ImageMatch
from cvserve.postproc import DetectionResult, ObjectMasks
from cvserve.postproc.drawing import Caption, draw_boxes
from cvserve.postproc.drawing.colors import Color
from cvserve.postproc.text import drawable, shortened, write
from cvserve.preproc import decode, resize_to

IMAGES = 12
_COLUMNS = 3
_TILE_WIDTH, _TILE_HEIGHT, _GAP, _TITLE, _LETTERS = 480, 400, 10, 24, 15
_TRUTH: Color = (60, 200, 75)
_MISSED: Color = (255, 200, 0)
_RIGHT: Color = (0, 150, 255)
_WRONG: Color = (235, 40, 60)
_IGNORED: Color = (160, 160, 160)
_LEGEND = (("true", _TRUTH), ("true, but missed", _MISSED), ("answer", _RIGHT), ("wrong answer", _WRONG))
_OPACITY = 0.45
_LEAST = 1e-3


@dataclass(frozen=True)
class ScoredImage:
    """Holds an image's results (best first), its true objects, and how they match.

    index: the image's place in the data set. masks: of the true objects, where masks are scored.
    """

    index: int
    result: DetectionResult
    objects: Objects
    match: ImageMatch
    masks: ObjectMasks | None = None

    @property
    def loss(self) -> float:
        """Returns the loss of the results.

        It is the sum of -log(score) over the objects, by the result that found each, and of -log(1 - score) over the
        wrong results.

        Scores are clipped to 0.001 to 0.999, so that an object that no result found costs 6.9.
        """
        scores = self.match.found_with[~self.objects.ignored]
        wrong = self.result.scores[self.match.wrong]
        missed = -np.log(np.maximum(scores, _LEAST)).sum()
        return float(missed - np.log(np.maximum(1 - wrong, _LEAST)).sum())

    def missed(self, threshold: float) -> np.ndarray:
        """Returns bool [M]: objects that no result with at least this score found."""
        missed: np.ndarray = (self.match.found_with < threshold) & ~self.objects.ignored
        return missed

    def wrong(self, threshold: float) -> np.ndarray:
        """Returns bool [N]: wrong results with at least this score."""
        wrong: np.ndarray = self.match.wrong & (self.result.scores >= threshold)
        return wrong


def worst(images: Sequence[ScoredImage], count: int = IMAGES) -> list[ScoredImage]:
    """Returns the images with the greatest loss, the greatest first; of equal ones the first."""
    return sorted(images, key=lambda image: -image.loss)[:count]


def draw_worst(images: Sequence[ScoredImage], dataset: Any, threshold: float, path: Path) -> None:
    """Writes the page as JPEG: each image with its true objects and its results in different colours.

    Args:
        images: in the order of the page.
        dataset: the `DetectionSource` that they are from.
        threshold: results with a lower score are not shown, as users would not see them.
    """
    rows = max(math.ceil(len(images) / _COLUMNS), 1)
    pitch = _TITLE + _TILE_HEIGHT + _GAP
    page = np.full((_TITLE + _GAP + rows * pitch, _COLUMNS * (_TILE_WIDTH + _GAP) + _GAP, 3), 30, np.uint8)
    _draw_legend(page)
    for place, scored in enumerate(images):
        row, column = divmod(place, _COLUMNS)
        top, left = _TITLE + _GAP + row * pitch, _GAP + column * (_TILE_WIDTH + _GAP)
        missed, wrong = int(scored.missed(threshold).sum()), int(scored.wrong(threshold).sum())
        title = f"{missed} missed, {wrong} wrong: {dataset.name(scored.index)}"
        write(page, shortened(drawable(title), _LETTERS, _TILE_WIDTH), (left, top + _LETTERS), _LETTERS)
        image = decode(dataset.image(scored.index), name=dataset.name(scored.index))
        tile = _tile(image, scored, threshold)
        page[top + _TITLE : top + _TITLE + tile.shape[0], left : left + tile.shape[1]] = tile
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), page[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])


def _tile(image: np.ndarray, scored: ScoredImage, threshold: float) -> np.ndarray:
    height, width = image.shape[:2]
    scale = min(_TILE_WIDTH / width, _TILE_HEIGHT / height)
    shown = resize_to(image, max(round(width * scale), 1), max(round(height * scale), 1))
    shown = np.array(shown, order="C")
    factor = np.array([shown.shape[1] / width, shown.shape[0] / height] * 2)
    boxes, captions = [], []
    marks = _marks(scored, threshold)
    for mark in reversed(marks):
        _fill(shown, mark)
    for mark in marks:
        boxes.append(mark.box * factor)
        captions.append(mark.caption)
    draw_boxes(shown, np.array(boxes).reshape(-1, 4), captions)
    return shown


@dataclass(frozen=True)
class _Mark:
    """Holds a box in the original, its caption and its mask: the one at `place` in `masks`."""

    box: np.ndarray
    caption: Caption
    masks: ObjectMasks | None
    place: int


def _fill(shown: np.ndarray, mark: _Mark) -> None:
    if mark.masks is None:
        return
    # The fraction of each pixel of the smaller image that the object covers.
    mask = mark.masks.mask(mark.place).astype(np.float32)
    alpha = cv2.resize(mask, shown.shape[1::-1], interpolation=cv2.INTER_AREA)[..., None] * _OPACITY
    shown[:] = np.rint(shown * (1 - alpha) + np.array(mark.caption.color, np.float32) * alpha).astype(np.uint8)


def _marks(scored: ScoredImage, threshold: float) -> list[_Mark]:
    """Returns what is drawn, the most important first."""
    result, objects = scored.result, scored.objects

    def answer(index: np.intp, caption: Caption) -> _Mark:
        return _Mark(result.boxes[index], caption, result.masks, int(index))

    def ground_truth(index: np.intp, caption: Caption) -> _Mark:
        return _Mark(objects.boxes[index], caption, scored.masks, int(index))

    wrong, missed = scored.wrong(threshold), scored.missed(threshold)
    names = result.names
    marks: list[_Mark] = []
    for index in np.flatnonzero(wrong):
        text = f"{names[result.indexes[index]]} {result.scores[index]:.2f}"
        marks.append(answer(index, Caption(text, _WRONG)))
    for index in np.flatnonzero(missed):
        marks.append(ground_truth(index, Caption(names[objects.labels[index]], _MISSED, bold=True)))
    right = (scored.match.object_of >= 0) & (result.scores >= threshold)
    marks += [answer(index, Caption("", _RIGHT)) for index in np.flatnonzero(right)]
    found = ~missed & ~objects.ignored
    marks += [ground_truth(index, Caption("", _TRUTH)) for index in np.flatnonzero(found)]
    return marks + [ground_truth(index, Caption("", _IGNORED)) for index in np.flatnonzero(objects.ignored)]


def _draw_legend(page: np.ndarray) -> None:
    left = _GAP
    for text, color in _LEGEND:
        page[8:22, left : left + 24] = color
        write(page, text, (left + 32, 20), _LETTERS)
        left += 200
