"""Class maps on images: colours where the classes are, and a legend that names them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvserve.errors import InvalidInput
from cvserve.postproc import SegmentationResult, draw
from cvserve.postproc.drawing import color_of
from cvserve.postproc.drawing.regions import OPACITY

NAMES = ("road", "tree", "sky")


def result(class_map: np.ndarray, colors: tuple = (), names: tuple[str, ...] = NAMES) -> SegmentationResult:
    return SegmentationResult(class_map.astype(np.uint8), np.ones(len(names), np.float32), names, colors)


def halves(height: int, width: int) -> np.ndarray:
    class_map = np.zeros((height, width), np.uint8)
    class_map[:, width // 2 :] = 1
    return class_map


def mixed(color: tuple[int, int, int], grey: int) -> np.ndarray:
    return np.array(color) * OPACITY + grey * (1 - OPACITY)


@pytest.mark.parametrize("colors", [(), ((255, 0, 0), (0, 0, 255), (0, 255, 0))])
def test_each_class_has_its_color_and_the_image_shows_through(colors: tuple) -> None:
    image = np.full((300, 400, 3), 128, np.uint8)
    image[200:] = 40
    photo = draw(image, result(halves(300, 400), colors))
    assert (image[:200] == 128).all()
    for index, x in enumerate((150, 350)):
        color = colors[index] if colors else color_of(index)
        for y, grey in ((180, 128), (250, 40)):
            np.testing.assert_allclose(photo[y, x], mixed(color, grey), atol=1)


def test_the_legend_has_a_line_for_each_class_that_there_is() -> None:
    image = np.full((300, 400, 3), 128, np.uint8)
    colors = ((255, 0, 0), (0, 0, 255), (0, 255, 0))
    photo = draw(image, result(halves(300, 400), colors))
    # Unmixed colours are the squares of the legend.
    first, second, third = ((photo == color).all(axis=2) for color in colors)
    assert 50 < first.sum() < 200
    assert first.sum() == second.sum()
    assert not third.any()
    assert np.argwhere(first)[:, 0].max() < np.argwhere(second)[:, 0].min() < 60
    assert (photo == 255).all(axis=2)[:60, :200].sum() > 50
    others = [
        draw(image, result(halves(300, 400), colors, names=("street", "tree", "sky"))),
        draw(image, result(np.minimum(halves(300, 400), 0), colors)),
    ]
    assert not any(np.array_equal(photo[:60], other[:60]) for other in others)


def test_a_small_image_is_enlarged_with_its_classes() -> None:
    photo = draw(np.full((50, 50, 3), 128, np.uint8), result(halves(50, 50)))
    assert photo.shape == (300, 300, 3)
    np.testing.assert_allclose(photo[280, 149], mixed(color_of(0), 128), atol=1)
    np.testing.assert_allclose(photo[280, 150], mixed(color_of(1), 128), atol=1)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 300), st.integers(1, 300), st.text(st.characters(codec=None), max_size=30))
def test_anything_can_be_drawn_on_any_size(height: int, width: int, label: str) -> None:
    names = tuple(f"{label} {index}" for index in range(255))
    class_map = np.random.default_rng(0).integers(0, 255, (height, width), np.uint8)
    photo = draw(np.zeros((height, width, 3), np.uint8), result(class_map, names=names))
    factor = photo.shape[0] // height
    assert photo.shape == (height * factor, width * factor, 3)


def test_another_image_is_refused() -> None:
    with pytest.raises(InvalidInput, match="has 40 x 30 pixels, but the result is of one with 400 x 300"):
        draw(np.zeros((30, 40, 3), np.uint8), result(halves(300, 400)))
