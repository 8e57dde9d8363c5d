"""Results on images: readable on any size and in any script, and the photo itself untouched."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvserve.errors import InvalidInput, Unimplemented
from cvserve.postproc import ClassificationResult, ClassScore, draw
from cvserve.postproc.text import drawable, shortened, text_width

RESULT = ClassificationResult(
    (ClassScore("daisy", 0, 0.9731), ClassScore("rose", 1, 0.02), ClassScore("tulip", 2, 0.0))
)


def result(*labels: str) -> ClassificationResult:
    return ClassificationResult(tuple(ClassScore(label, index, 0.5) for index, label in enumerate(labels)))


@pytest.mark.parametrize(
    ("size", "drawn"),
    [
        ((300, 400), (300, 400)),
        ((256, 20), (256, 20)),
        ((32, 32), (256, 256)),  # enlarged by a whole factor, or the words could not be read
        ((1, 1), (256, 256)),
        ((100, 200), (200, 400)),
        ((1, 5000), (1, 5000)),
        ((5000, 1), (5000, 1)),
    ],
)
def test_sizes(size: tuple[int, int], drawn: tuple[int, int]) -> None:
    image = np.full((*size, 3), 200, np.uint8)
    before = image.copy()
    photo = draw(image, RESULT)
    assert photo.shape == (*drawn, 3)
    assert photo.dtype == np.uint8
    assert np.array_equal(image, before)
    assert not np.array_equal(photo, np.full_like(photo, 200))


@pytest.mark.parametrize("size", [(32, 32), (375, 500), (3000, 4000)])
@pytest.mark.parametrize("background", [0, 128, 255])
def test_white_letters_on_a_dark_plate_that_grow_with_the_image(size: tuple[int, int], background: int) -> None:
    photo = draw(np.full((*size, 3), background, np.uint8), RESULT)
    height = photo.shape[0]
    # What is neither the background nor the darkened background is letters.
    plate_rows = np.flatnonzero((photo != background).any(axis=(1, 2)))
    plate_height = plate_rows.max() + 1
    assert 0.1 * height <= plate_height <= 0.4 * height
    assert (photo[plate_height:] == background).all()
    letters = (photo == 255).all(axis=2)[:plate_height]
    if background != 255:
        assert 0.005 < letters.mean() < 0.3
    assert ((photo == background // 3).all(axis=2)).any()


def test_each_class_is_on_it() -> None:
    image = np.full((400, 600, 3), 100, np.uint8)
    images = [draw(image, result(*labels)) for labels in (["a"], ["b"], ["a", "b"], ["a", "c"])]
    for index, one in enumerate(images):
        for other in images[index + 1 :]:
            assert not np.array_equal(one, other)
    assert np.array_equal(draw(image, ClassificationResult(())), image)


@pytest.mark.parametrize("label", ["Gänseblümchen", "ромашка", "雏菊", "デイジー", "데이지", "בבונג", "μ ∑ €"])
def test_other_scripts_are_not_question_marks(label: str) -> None:
    image = np.full((200, 600, 3), 100, np.uint8)
    assert drawable(label) == label
    marks = "".join(char if char.isspace() else "?" for char in label)
    assert not np.array_equal(draw(image, result(label)), draw(image, result(marks)))


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("plain label", "plain label"),
        ("what?", "what?"),
        ("daisy \U0001f33c", "daisy U+1F33C"),  # the font has no emoji
        ("two\nlines\tand  spaces ", "two lines and spaces"),
        ("half\ud800 a pair", "half? a pair"),  # OpenCV ends the process on these
        ("in\u200bvisible\u202e marks\ufe0f", "invisible marks"),
        ("bell\x07 nul\0", "bell nul"),
        ("", ""),
    ],
)
def test_what_the_font_lacks_is_written_as_its_code_point(label: str, expected: str) -> None:
    assert drawable(label) == expected


@settings(deadline=None, max_examples=60)
@given(st.text(st.characters(codec=None), max_size=60), st.integers(1, 400), st.integers(1, 400))
def test_any_label_can_be_drawn(label: str, height: int, width: int) -> None:
    draw(np.zeros((height, width, 3), np.uint8), result(label, label))


@pytest.mark.parametrize("width", [0, 30, 100, 200, 1000])
def test_a_long_label_is_cut_with_an_ellipsis(width: int) -> None:
    label = "tench, Tinca tinca, a freshwater fish of the carp family"
    text = shortened(label, 16, width)
    if width == 1000:
        assert text == label
    else:
        assert text.endswith("…")
        assert label.startswith(text[:-1])
        assert text == "…" or text_width(text, 16) <= width
        more = label[: len(text)].rstrip() + "…"
        assert text_width(more, 16) > width


def test_threads_draw_the_same_letters() -> None:
    # OpenCV's fonts are not thread-safe.
    image = np.full((300, 400, 3), 90, np.uint8)
    labels = ["Gänseblümchen", "雏菊", "rose"]
    expected = [draw(image, result(label, label)) for label in labels]
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda index: draw(image, result(*[labels[index % 3]] * 2)), range(60)))
    for index, photo in enumerate(drawn):
        assert np.array_equal(photo, expected[index % 3])


@pytest.mark.parametrize("image", [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3)), np.zeros((0, 5, 3), np.uint8)])
def test_other_arrays_are_errors(image: np.ndarray) -> None:
    with pytest.raises(InvalidInput, match=r"must be uint8 RGB \[H, W, 3\], not "):
        draw(image, RESULT)


def test_a_result_of_a_later_version_is_named() -> None:
    class Other:
        task = "depth"

        def to_dict(self) -> dict[str, object]:
            return {}

    with pytest.raises(Unimplemented, match="results of depth cannot be drawn"):
        draw(np.zeros((9, 9, 3), np.uint8), Other())  # type: ignore[arg-type]
