"""The worst and the best captions with their images, on one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from cvserve.data.source import CaptionSource
from cvserve.evaluation.captions.report import ImageScores
from cvserve.evaluation.captions.rouge import rouge_l
from cvserve.postproc.drawing.colors import Color
from cvserve.postproc.text import drawable, shortened, write
from cvserve.postproc.wrapping import wrapped
from cvserve.preproc import decode, resize_to
from cvserve.text import caption_words

EACH = 6
"""Images on either half of the page."""

_COLUMNS = 3
_WIDTH, _HEIGHT, _GAP, _HEAD, _LETTERS, _PITCH = 480, 320, 12, 40, 15, 20
_LINES = 2
_TEXT = (1 + 2 * _LINES) * _PITCH
_WHITE: Color = (255, 255, 255)
_GREY: Color = (170, 170, 170)
_SAID: Color = (110, 190, 255)
_TRUE: Color = (90, 215, 105)


@dataclass(frozen=True)
class Told:
    """An image with its answer, its references and its scores. index: in the data set."""

    index: int
    answer: str
    references: tuple[str, ...]
    scores: ImageScores

    @property
    def closest(self) -> str:
        """The reference that is most like the answer, by ROUGE-L; of equal ones the first."""
        words = caption_words(self.answer)
        likeness = rouge_l([words] * len(self.references), [[caption_words(text)] for text in self.references])
        return self.references[likeness.index(max(likeness))]


def worst_and_best(images: Sequence[Told], each: int = EACH) -> tuple[list[Told], list[Told]]:
    """Those of the lowest and of the highest CIDEr-D, then ROUGE-L, the extreme first; none is on both sides."""
    ranked = sorted(images, key=lambda item: (item.scores.cider_d, item.scores.rouge_l))
    low = ranked[: min(each, (len(ranked) + 1) // 2)]
    return low, ranked[len(low) :][::-1][:each]


def draw_page(images: Sequence[Told], dataset: CaptionSource, path: Path) -> None:
    """Writes the page as JPEG: the worst above the best, each with its answer and the reference most like it."""
    halves = worst_and_best(images)
    pitch = _HEIGHT + _TEXT + _GAP
    heights = [_HEAD + -(-len(half) // _COLUMNS) * pitch for half in halves]
    page = np.full((sum(heights) + _GAP, _COLUMNS * (_WIDTH + _GAP) + _GAP, 3), 30, np.uint8)
    top = 0
    for heading, half, height in zip(("worst by CIDEr-D", "best by CIDEr-D"), halves, heights, strict=True):
        if half:
            for text, left, color in ((heading, 0, _WHITE), ("answer", 240, _SAID), ("true", 320, _TRUE)):
                write(page, text, (_GAP + left, top + 28), 20, color)
        for place, item in enumerate(half):
            row, column = divmod(place, _COLUMNS)
            corner = (top + _HEAD + row * pitch, _GAP + column * (_WIDTH + _GAP))
            _draw_tile(page[corner[0] : corner[0] + pitch, corner[1] : corner[1] + _WIDTH], item, dataset)
        top += height
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), page[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])


def _draw_tile(tile: np.ndarray, item: Told, dataset: CaptionSource) -> None:
    name = dataset.name(item.index)
    image = decode(dataset.image(item.index), name=name)
    scale = min(_WIDTH / image.shape[1], _HEIGHT / image.shape[0])
    shown = resize_to(image, max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
    tile[: shown.shape[0], : shown.shape[1]] = shown
    canvas = np.full((_TEXT + _GAP, _WIDTH, 3), 30, np.uint8)  # OpenCV writes on contiguous arrays alone
    title = f"CIDEr-D {item.scores.cider_d:.2f}, ROUGE-L {item.scores.rouge_l:.2f}: {name}"
    write(canvas, shortened(drawable(title), _LETTERS, _WIDTH), (0, _PITCH - 4), _LETTERS, _GREY)
    baseline = 2 * _PITCH - 4
    for text, color in ((item.answer or "(nothing)", _SAID), (item.closest, _TRUE)):
        for line in wrapped(drawable(text), _LETTERS, _WIDTH, _LINES):
            write(canvas, line, (0, baseline), _LETTERS, color)
            baseline += _PITCH
    tile[_HEIGHT : _HEIGHT + len(canvas)] = canvas
