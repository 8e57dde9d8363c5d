"""Objects on images: boxes where they are, captions that can be read, all of it inside of the photo."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvserve.errors import InvalidInput
from cvserve.postproc import DetectionResult, draw
from cvserve.postproc.drawing import Caption, color_of, draw_boxes
from cvserve.postproc.drawing.colors import text_color_on

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


def changed(photo: np.ndarray, background: int = 128) -> np.ndarray:
    return (photo != background).any(axis=2)


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def test_lines_are_where_the_box_is_in_the_color_of_the_class() -> None:
    image = grey(300, 400)
    photo = draw(image, result((300, 400), ([100, 120, 250, 260], 0.9, 1)))
    assert (image == 128).all()
    color = np.array(color_of(1))
    for y, x in ((190, 100), (190, 250), (260, 200), (120, 240)):
        window = photo[y - 2 : y + 2, x - 2 : x + 2].reshape(-1, 3)
        assert (window == color).all(axis=1).any(), (y, x)
    inside, around = changed(photo)[126:254, 106:244], changed(photo)
    assert not inside.any()
    # Nothing but the box and its caption above it.
    around[90:263, 97:253] = False
    assert not around.any()


def test_the_caption_is_above_the_box_or_in_it_at_the_top_of_the_image() -> None:
    above = changed(draw(grey(300, 400), result((300, 400), ([100, 120, 250, 260], 0.9, 1))))
    assert above[103:118, 110].all()
    top = changed(draw(grey(300, 400), result((300, 400), ([100, 0, 250, 260], 0.9, 1))))
    assert top[4:14, 103:130].all()
    assert not top[30:250, 110].any()


def test_captions_of_different_classes_and_scores_differ() -> None:
    box = [50, 100, 200, 200]
    images = [
        draw(grey(300, 400), result((300, 400), (box, score, index), names=names))
        for score, index, names in ((0.9, 0, NAMES), (0.8, 0, NAMES), (0.9, 1, NAMES), (0.9, 0, ("cow", *NAMES)))
    ]
    for index, one in enumerate(images):
        for other in images[index + 1 :]:
            assert not np.array_equal(one, other)
    assert np.array_equal(draw(grey(300, 400), result((300, 400))), grey(300, 400))


def test_the_best_is_on_top() -> None:
    box = [50, 100, 200, 200]
    first = draw(grey(300, 400), result((300, 400), (box, 0.9, 0), (box, 0.8, 1)))
    lines = first[195:205, 100:180].reshape(-1, 3)
    assert (lines == color_of(0)).all(axis=1).any()
    assert not (lines == color_of(1)).all(axis=1).any()
    # The second caption gives way, so that both can be read.
    assert (first == color_of(1)).all(axis=2).sum() > 500


@pytest.mark.parametrize(("size", "least", "most"), [((240, 320), 2, 2), ((1000, 1400), 4, 4), ((3000, 4000), 12, 12)])
def test_lines_grow_with_the_image(size: tuple[int, int], least: int, most: int) -> None:
    height, width = size
    photo = draw(grey(*size), result(size, ([width * 0.25, height * 0.3, width * 0.75, height * 0.8], 0.5, 0)))
    thickness = changed(photo)[height // 2, : width // 2].sum()
    assert least <= thickness <= most


def test_a_small_image_is_enlarged_with_its_boxes() -> None:
    photo = draw(grey(64, 64), result((64, 64), ([16, 32, 48, 60], 0.5, 0)))
    assert photo.shape == (256, 256, 3)
    column = changed(photo)[180]
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
    photo = draw(grey(height, width), result((height, width), *found, names=(label,) * 501))
    factor = photo.shape[0] // height
    assert photo.shape == (height * factor, width * factor, 3)
    assert changed(photo).any() == bool(objects)


def test_boxes_out_of_the_image_do_no_harm() -> None:
    canvas = grey(100, 100)
    draw_boxes(canvas, np.array([[-50, -50, 300, 300], [150, 150, 200, 200]]), [Caption("a", (255, 0, 0))] * 2)
    assert changed(canvas).any()


def test_another_image_is_refused() -> None:
    with pytest.raises(InvalidInput, match="has 40 x 30 pixels, but the result is of one with 400 x 300"):
        draw(grey(30, 40), result((300, 400)))


def test_colors_stay_the_same_and_can_be_told_apart() -> None:
    colors = [color_of(index) for index in range(200)]
    assert len(set(colors)) == 200
    assert colors[:2] == [(230, 25, 75), (60, 180, 75)]
    first = np.array(colors[:16], float)
    distances = np.linalg.norm(first[:, None] - first[None], axis=-1) + 1e9 * np.eye(16)
    assert distances.min() > 40
    assert text_color_on((255, 255, 0)) == (0, 0, 0)
    assert text_color_on((0, 0, 120)) == (255, 255, 255)
