"""Draws the images with the lowest mIoU on one page: image, ground truth, prediction and errors side by side."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from cvserve.data.augment.placement import nearest
from cvserve.data.masks import VOID
from cvserve.data.source import SegmentationSource
from cvserve.postproc.drawing.colors import Color
from cvserve.postproc.text import drawable, shortened, text_width, write
from cvserve.preproc import decode, resize_to

if TYPE_CHECKING:
    from cvserve.evaluation.segmentation import SegmentationReport

IMAGES = 8
_TILE_WIDTH, _TILE_HEIGHT, _GAP, _TITLE, _LETTERS = 320, 320, 8, 24, 15
_COLUMNS = ("image", "truth", "answer", "errors")
_WRONG: Color = (255, 30, 60)
_VOID: Color = (0, 0, 0)
_GROUND = 30


@dataclass(frozen=True)
class ScoredMask:
    """Holds an image's own scores and its predicted class map.

    index: its place in the data set. encoded: the class map as the bytes of a PNG, which take little memory.
    """

    index: int
    report: SegmentationReport
    encoded: bytes

    @property
    def class_map(self) -> np.ndarray:
        """Returns the predicted class map, uint8 [H, W] of the original."""
        return np.asarray(cv2.imdecode(np.frombuffer(self.encoded, np.uint8), cv2.IMREAD_GRAYSCALE))


class WorstMasks:
    """Keeps the images with the lowest mIoU, the lowest first, and of equal ones the first."""

    def __init__(self, count: int = IMAGES) -> None:
        self._count = count
        self.images: list[ScoredMask] = []

    def add(self, index: int, report: SegmentationReport, class_map: np.ndarray) -> None:
        """Adds an image.

        Args:
            index: its place in the data set. report: its own scores. class_map: uint8 [H, W], the prediction.
        """
        if len(self.images) == self._count and report.miou >= self.images[-1].report.miou:
            return
        encoded = cv2.imencode(".png", class_map)[1].tobytes()
        insort(self.images, ScoredMask(index, report, encoded), key=lambda image: image.report.miou)
        del self.images[self._count :]


def draw_worst_masks(
    images: Sequence[ScoredMask],
    dataset: SegmentationSource,
    names: Sequence[str],
    colors: Sequence[Color],
    path: Path,
) -> None:
    """Writes the page as JPEG, one image in each row, with a legend of the classes that appear on it.

    Args:
        images: in the order of the page. dataset: the split that they are from. names, colors: of the classes.
    """
    width = len(_COLUMNS) * (_TILE_WIDTH + _GAP) + _GAP
    palette = np.zeros((VOID + 1, 3), np.uint8)
    palette[: len(colors)] = colors
    palette[VOID] = _VOID
    rows = []
    seen = np.zeros(VOID + 1, bool)
    for scored in images:
        ground_truth, answer = dataset.mask(scored.index), scored.class_map
        seen[np.unique(ground_truth)] = seen[np.unique(answer)] = True
        image = decode(dataset.image(scored.index), name=dataset.name(scored.index))
        report = scored.report
        title = f"mIoU {report.miou:.3f}, pixels {report.pixel_accuracy:.3f}: {dataset.name(scored.index)}"
        rows.append(_row(title, _tiles(image, ground_truth, answer, palette), width))
    shown = [(name, color) for label, (name, color) in enumerate(zip(names, colors, strict=True)) if seen[label]]
    legend = _legend([*shown, ("void", _VOID), ("wrong", _WRONG)], width)
    path.parent.mkdir(parents=True, exist_ok=True)
    page = np.concatenate([legend, *rows])
    cv2.imwrite(str(path), page[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])


def _tiles(image: np.ndarray, ground_truth: np.ndarray, answer: np.ndarray, palette: np.ndarray) -> list[np.ndarray]:
    """Returns the four tiles of a row, uint8 RGB of one size."""
    height, width = ground_truth.shape
    scale = min(_TILE_WIDTH / width, _TILE_HEIGHT / height)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    shown = resize_to(image, *size)
    ground_truth, answer = nearest(ground_truth, *size), nearest(answer, *size)
    errors = np.repeat(cv2.cvtColor(shown, cv2.COLOR_RGB2GRAY)[:, :, None] // 2, 3, axis=2)
    errors[(ground_truth != answer) & (ground_truth != VOID)] = _WRONG
    errors[ground_truth == VOID] = _VOID
    return [shown, palette[ground_truth], palette[answer], errors]


def _row(title: str, tiles: Sequence[np.ndarray], width: int) -> np.ndarray:
    row = np.full((_TITLE + tiles[0].shape[0] + _GAP, width, 3), _GROUND, np.uint8)
    write(row, shortened(drawable(title), _LETTERS, width - 2 * _GAP), (_GAP, _LETTERS), _LETTERS)
    for column, tile in enumerate(tiles):
        left = _GAP + column * (_TILE_WIDTH + _GAP)
        row[_TITLE : _TITLE + tile.shape[0], left : left + tile.shape[1]] = tile
    return row


def _legend(entries: Sequence[tuple[str, Color]], width: int) -> np.ndarray:
    """Draws the names of the columns and, below, each class beside its colour, in as many lines as needed."""
    places, left, line = [], _GAP, 1
    for name, color in entries:
        text = shortened(drawable(name), _LETTERS, width // 3)
        needed = 32 + text_width(text, _LETTERS) + 16
        if left + needed > width and left > _GAP:
            left, line = _GAP, line + 1
        places.append((text, color, left, line))
        left += needed
    page = np.full(((line + 1) * _TITLE + _GAP, width, 3), _GROUND, np.uint8)
    for column, name in enumerate(_COLUMNS):
        write(page, name, (_GAP + column * (_TILE_WIDTH + _GAP), _LETTERS + 3), _LETTERS)
    for text, color, left, line in places:
        top = line * _TITLE
        # Without a frame, black would not be visible.
        page[top + 4 : top + 20, left : left + 24] = 90
        page[top + 5 : top + 19, left + 1 : left + 23] = color
        write(page, text, (left + 32, top + _LETTERS + 3), _LETTERS)
    return page
