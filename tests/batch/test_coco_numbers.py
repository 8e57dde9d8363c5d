"""Numbers of images and categories in COCO results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvserve.batch import GroundTruthNumbers, OwnNumbers
from cvserve.errors import InvalidInput


def test_own_numbers() -> None:
    numbers = OwnNumbers(["red", "green"])
    assert numbers.category_ids == (1, 2)
    names = ["000000397133.jpg", "a.jpg", "b/2.png", "c.jpg", "d/2.png", "٣.jpg", "9" * 30 + ".jpg"]
    assert [numbers.image_id(name) for name in names] == [397133, 1, 2, 3, 4, 5, 6]


@given(st.lists(st.one_of(st.integers(0, 20).map(str), st.text(min_size=1, max_size=3)), max_size=30))
def test_own_numbers_are_never_given_twice(stems: list[str]) -> None:
    numbers = OwnNumbers([])
    given_out = [numbers.image_id(f"{index}/{stem}.jpg") for index, stem in enumerate(stems)]
    assert len(set(given_out)) == len(given_out)


def write(path: Path, **changes: Any) -> Path:
    content = {
        "images": [
            {"id": 7, "file_name": "val/a.jpg"},
            {"id": 9, "file_name": "val/b.jpg"},
            {"id": 8, "file_name": "test/b.jpg"},
        ],
        "categories": [{"id": 90, "name": "green"}, {"id": 3, "name": "red"}, {"id": 4, "name": "blue"}],
    } | changes
    path.write_text(json.dumps(content))
    return path


def test_numbers_of_a_ground_truth_file(tmp_path: Path) -> None:
    numbers = GroundTruthNumbers(write(tmp_path / "gt.json"), ["red", "green"])
    assert numbers.category_ids == (3, 90)
    assert [numbers.image_id(name) for name in ("val/a.jpg", "a.jpg", "/far/a.jpg", "test/b.jpg", "val/b.jpg")] == [
        *(7, 7, 7, 8, 9)
    ]
    with pytest.raises(InvalidInput, match=r"^z.jpg: .*gt.json has no such image, so that its results could not be"):
        numbers.image_id("z.jpg")
    with pytest.raises(InvalidInput, match=r"^b.jpg: .*gt.json has several images of that name"):
        numbers.image_id("b.jpg")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"categories": [{"id": 1, "name": "green"}]}, "has no category red, which the model can answer"),
        ({"categories": [{"id": 1, "name": "red"}] * 2}, "has two categories 'red'"),
        ({"images": None}, "is not a ground truth of COCO"),
        ({"images": [{"id": "x", "file_name": "a"}]}, "is not a ground truth of COCO"),
    ],
)
def test_a_ground_truth_that_does_not_fit(tmp_path: Path, changes: dict, sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        GroundTruthNumbers(write(tmp_path / "gt.json", **changes), ["red"])


def test_a_file_in_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read: No such file"):
        GroundTruthNumbers(tmp_path / "gt.json", ["red"])
    (tmp_path / "gt.json").write_text("[")
    with pytest.raises(InvalidInput, match="is not a ground truth of COCO"):
        GroundTruthNumbers(tmp_path / "gt.json", ["red"])
