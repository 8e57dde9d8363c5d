"""Draws the worst and the best captions with their images on one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from cvserve.data.source import CaptionSource
from cvserve.evaluation.captions.scored import ScoredImage, worst_and_best
from cvserve.postproc.drawing.colors import Color
from cvserve.postproc.text import drawable, shortened, write
from cvserve.postproc.wrapping import wrapped
from cvserve.preproc import decode, resize_to

EACH = 6
"""How many images each half of the page shows, at most."""

_COLUMNS = 3
_WIDTH, _HEIGHT, _GAP, _HEAD, _LETTERS, _PITCH = 480, 320, 12, 40, 15, 20
_LINES = 2
_TEXT = (1 + 2 * _LINES) * _PITCH
_WHITE: Color = (255, 255, 255)
_GREY: Color = (170, 170, 170)
_ANSWER: Color = (110, 190, 255)
_TRUE: Color = (90, 215, 105)


def draw_page(images: Sequence[ScoredImage], dataset: CaptionSource, path: Path) -> None:
    """Writes the page as JPEG: the worst above the best, each with its answer and the reference most like it.

    Args:
        images: all that were scored. dataset: the split that they are from.
    """
    halves = worst_and_best(images, EACH)
    pitch = _HEIGHT + _TEXT + _GAP
    heights = [_HEAD + -(-len(half) // _COLUMNS) * pitch for half in halves]
    page = np.full((sum(heights) + _GAP, _COLUMNS * (_WIDTH + _GAP) + _GAP, 3), 30, np.uint8)
    top = 0
    for heading, half, height in zip(("worst by CIDEr-D", "best by CIDEr-D"), halves, heights, strict=True):
        if half:
            for text, left, color in ((heading, 0, _WHITE), ("answer", 240, _ANSWER), ("true", 320, _TRUE)):
                write(page, text, (_GAP + left, top + 28), 20, color)
        for place, item in enumerate(half):
            row, column = divmod(place, _COLUMNS)
            corner = (top + _HEAD + row * pitch, _GAP + column * (_WIDTH + _GAP))
            _draw_tile(page[corner[0] : corner[0] + pitch, corner[1] : corner[1] + _WIDTH], item, dataset)
        top += height
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), page[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])


def _draw_tile(tile: np.ndarray, item: ScoredImage, dataset: CaptionSource) -> None:
    name = dataset.name(item.index)
    image = decode(dataset.image(item.index), name=name)
    scale = min(_WIDTH / image.shape[1], _HEIGHT / image.shape[0])
    shown = resize_to(image, max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
    tile[: shown.shape[0], : shown.shape[1]] = shown
    canvas = np.full((_TEXT + _GAP, _WIDTH, 3), 30, np.uint8)  # OpenCV only writes on contiguous arrays
    title = f"CIDEr-D {item.scores.cider_d:.2f}, ROUGE-L {item.scores.rouge_l:.2f}: {name}"
    write(canvas, shortened(drawable(title), _LETTERS, _WIDTH), (0, _PITCH - 4), _LETTERS, _GREY)
    baseline = 2 * _PITCH - 4
    for text, color in ((item.answer or "(nothing)", _ANSWER), (item.closest, _TRUE)):
        for line in wrapped(drawable(text), _LETTERS, _WIDTH, _LINES):
            write(canvas, line, (0, baseline), _LETTERS, color)
            baseline += _PITCH
    tile[_HEIGHT : _HEIGHT + len(canvas)] = canvas
