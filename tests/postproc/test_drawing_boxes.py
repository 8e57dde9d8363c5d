"""Objects on pictures: boxes where they are, captions that can be read, all of it inside of the picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvserve.errors import InvalidInput
from cvserve.postproc import DetectionResult, draw
from cvserve.postproc.drawing import Caption, colour_of, draw_boxes
from cvserve.postproc.drawing.colours import ink_on

NAMES = ("cat", "dog", "bird")


def result(size: tuple[int, int], *objects: tuple[list[float], float, int], names: tuple = NAMES) -> DetectionResult:
    boxes, scores, indexes = (list(part) for part in zip(*objects, strict=True)) if objects else ([], [], [])
    return DetectionResult(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(indexes, np.int32),
        names,
        size[1],
        size[0],
    )


def changed(picture: np.ndarray, background: int = 128) -> np.ndarray:
    return (picture != background).any(axis=2)


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def test_lines_are_where_the_box_is_in_the_colour_of_the_class() -> None:
    image = grey(300, 400)
    picture = draw(image, result((300, 400), ([100, 120, 250, 260], 0.9, 1)))
    assert (image == 128).all()
    colour = np.array(colour_of(1))
    for y, x in ((190, 100), (190, 250), (260, 200), (120, 240)):
        window = picture[y - 2 : y + 2, x - 2 : x + 2].reshape(-1, 3)
        assert (window == colour).all(axis=1).any(), (y, x)
    inside, around = changed(picture)[126:254, 106:244], changed(picture)
    assert not inside.any()
    # Nothing but the box and its caption above it.
    around[90:263, 97:253] = False
    assert not around.any()


def test_the_caption_is_above_the_box_or_in_it_at_the_top_of_the_picture() -> None:
    above = changed(draw(grey(300, 400), result((300, 400), ([100, 120, 250, 260], 0.9, 1))))
    assert above[103:118, 110].all()
    top = changed(draw(grey(300, 400), result((300, 400), ([100, 0, 250, 260], 0.9, 1))))
    assert top[4:14, 103:130].all()
    assert not top[30:250, 110].any()


def test_a_class_and_score_can_be_told_from_others() -> None:
    box = [50, 100, 200, 200]
    pictures = [
        draw(grey(300, 400), result((300, 400), (box, score, index), names=names))
        for score, index, names in ((0.9, 0, NAMES), (0.8, 0, NAMES), (0.9, 1, NAMES), (0.9, 0, ("cow", *NAMES)))
    ]
    for index, one in enumerate(pictures):
        for other in pictures[index + 1 :]:
            assert not np.array_equal(one, other)
    assert np.array_equal(draw(grey(300, 400), result((300, 400))), grey(300, 400))


def test_the_best_is_on_top() -> None:
    box = [50, 100, 200, 200]
    first = draw(grey(300, 400), result((300, 400), (box, 0.9, 0), (box, 0.8, 1)))
    lines = first[195:205, 100:180].reshape(-1, 3)
    assert (lines == colour_of(0)).all(axis=1).any()
    assert not (lines == colour_of(1)).all(axis=1).any()
    # The second caption gives way, so that both can be read.
    assert (first == colour_of(1)).all(axis=2).sum() > 500


@pytest.mark.parametrize(("size", "least", "most"), [((240, 320), 2, 2), ((1000, 1400), 4, 4), ((3000, 4000), 12, 12)])
def test_lines_grow_with_the_picture(size: tuple[int, int], least: int, most: int) -> None:
    height, width = size
    picture = draw(grey(*size), result(size, ([width * 0.25, height * 0.3, width * 0.75, height * 0.8], 0.5, 0)))
    thickness = changed(picture)[height // 2, : width // 2].sum()
    assert least <= thickness <= most


def test_a_small_picture_is_enlarged_with_its_boxes() -> None:
    picture = draw(grey(64, 64), result((64, 64), ([16, 32, 48, 60], 0.5, 0)))
    assert picture.shape == (256, 256, 3)
    column = changed(picture)[180]
    assert column[62:66].any()
    assert column[190:194].any()
    assert not column[70:186].any()


@settings(deadline=None, max_examples=80)
@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.lists(st.tuples(*[st.floats(0, 1)] * 4, st.integers(0, 500)), max_size=6),
    st.text(st.characters(codec=None), max_size=30),
)
def test_anything_can_be_drawn_on_any_size(height: int, width: int, objects: list, label: str) -> None:
    found = [
        ([min(a, b) * width, min(c, d) * height, max(a, b) * width, max(c, d) * height], 0.5, index)
        for a, b, c, d, index in objects
    ]
    picture = draw(grey(height, width), result((height, width), *found, names=(label,) * 501))
    factor = picture.shape[0] // height
    assert picture.shape == (height * factor, width * factor, 3)
    assert changed(picture).any() == bool(objects)


def test_boxes_out_of_the_picture_do_no_harm() -> None:
    canvas = grey(100, 100)
    draw_boxes(canvas, np.array([[-50, -50, 300, 300], [150, 150, 200, 200]]), [Caption("a", (255, 0, 0))] * 2)
    assert changed(canvas).any()


def test_another_picture_is_refused() -> None:
    with pytest.raises(InvalidInput, match="has 40 x 30 pixels, but the result is of one with 400 x 300"):
        draw(grey(30, 40), result((300, 400)))


def test_colours_stay_the_same_and_can_be_told_apart() -> None:
    colours = [colour_of(index) for index in range(200)]
    assert len(set(colours)) == 200
    assert colours[:2] == [(230, 25, 75), (60, 180, 75)]
    first = np.array(colours[:16], float)
    distances = np.linalg.norm(first[:, None] - first[None], axis=-1) + 1e9 * np.eye(16)
    assert distances.min() > 40
    assert ink_on((255, 255, 0)) == (0, 0, 0)
    assert ink_on((0, 0, 120)) == (255, 255, 255)
