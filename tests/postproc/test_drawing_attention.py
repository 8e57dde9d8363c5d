"""Panels of where a network looked: one a word, bright where its map is."""

from __future__ import annotations

import numpy as np
import pytest

from cvserve.postproc import Attention, CaptionResult, ScoredCaption, draw

SENTENCE = (ScoredCaption("a red circle", -1.0),)


def looking_at(*cells: tuple[int, int], box: tuple[float, float, float, float]) -> Attention:
    """A word a cell of a grid of 4 x 4, all of its attention there."""
    maps = np.zeros((len(cells), 4, 4), np.float32)
    for number, (row, column) in enumerate(cells):
        maps[number, row, column] = 1
    return Attention(("a", "red", "circle", "end")[: len(cells)], maps, box)


def panels_of(sheet: np.ndarray, height: int, count: int, columns: int, shape: tuple[int, int]) -> list[np.ndarray]:
    """The brightness of each panel, below `height` rows, cut by hand."""
    wide, down = shape
    found = []
    for number in range(count):
        top = height + 2 + (number // columns) * (down + 2)
        left = (number % columns) * (wide + 2)
        found.append(sheet[top : top + down, left : left + wide].mean(axis=2))
    return found


@pytest.mark.parametrize(
    ("box", "place"),
    [
        ((0.0, 0.0, 480.0, 360.0), lambda row, column: (row + 0.5, column + 0.5)),
        # Padded above and below: of 480 rows of the grid the image is the middle 360.
        ((0.0, -60.0, 480.0, 420.0), lambda row, column: ((row + 0.5) * 4 / 3 - 2 / 3, column + 0.5)),
    ],
)
def test_each_word_has_a_bright_place(box: tuple[float, float, float, float], place) -> None:
    """480 x 360 pixels: four columns of 118 x 88."""
    image = np.full((360, 480, 3), 200, np.uint8)
    cells = [(1, 1), (2, 2), (2, 1), (1, 2)]
    result = CaptionResult(SENTENCE, looking_at(*cells, box=box))
    sheet = draw(image, result)
    assert sheet.shape == (360 + 2 + 88, 480, 3)
    assert np.array_equal(sheet[:360], draw(image, CaptionResult(SENTENCE)))
    for panel, (row, column) in zip(panels_of(sheet, 360, 4, 4, (118, 88)), cells, strict=True):
        # Below the plate with the word, the brightest is the centre of the cell.
        panel[:24] = 0
        brightest = np.argwhere(panel >= panel.max() - 1).mean(axis=0)
        y, x = place(row, column)
        assert brightest == pytest.approx([y * 88 / 4, x * 118 / 4], abs=2.5)
        assert panel.max() > 190
        assert np.median(panel[30:]) < 120


def test_small_and_narrow_images_have_panels_too() -> None:
    for shape in ((16, 24), (300, 20), (24, 24)):
        image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
        box = (0.0, 0.0, float(shape[1]), float(shape[0]))
        sheet = draw(image, CaptionResult(SENTENCE, looking_at((0, 0), (3, 3), (1, 2), box=box)))
        plain = draw(image, CaptionResult(SENTENCE))
        assert sheet.shape[1] == plain.shape[1]
        assert sheet.shape[0] > plain.shape[0]


def test_a_sentence_of_nothing_has_no_panel() -> None:
    image = np.zeros((300, 300, 3), np.uint8)
    nothing = Attention((), np.zeros((0, 4, 4), np.float32), (0, 0, 300, 300))
    assert draw(image, CaptionResult((ScoredCaption("", -1.0),), nothing)).shape == (300, 300, 3)
