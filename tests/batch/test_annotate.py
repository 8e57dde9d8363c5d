"""The names of annotated copies are unique and stay inside their folder."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_artifact import write_image

from cvserve.batch import Source
from cvserve.batch.annotate import annotated_path, write_annotated
from cvserve.postproc import ClassificationResult, ClassScore

FOLDER = Path("/annotated")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.png", "a.png.jpg"),
        ("rösen/2.jpg", "rösen/2.jpg.jpg"),
        ("../../etc/passwd.png", "%2E%2E/%2E%2E/etc/passwd.png.jpg"),
        ("/data/x.png", "%2F/data/x.png.jpg"),
        ("a.jpg/b.png", "a.jp%67/b.png.jpg"),  # a.jpg.jpg is the copy of a file, so it cannot be a folder
        ('a:"b"%.png', "a%3A%22b%22%25.png.jpg"),
        ("..", "%2E%2E.jpg"),
    ],
)
def test_names(name: str, expected: str) -> None:
    assert annotated_path(FOLDER, name) == FOLDER / expected


parts = st.text(st.sampled_from("ab.%/\\:\n é2EJjpg"), min_size=1, max_size=12) | st.sampled_from(
    ["..", ".", "a.jpg", "a.jp%67", "%2E%2E", "a" * 300, "a" * 299 + "b", "é" * 200]
)
names = st.lists(parts, min_size=1, max_size=4).map("/".join).filter(lambda name: Path(name).parts not in ((), ("/",)))


@given(names)
def test_no_name_leaves_the_folder_or_breaks_the_file_system(name: str) -> None:
    path = annotated_path(FOLDER, name)
    assert os.path.normpath(path) == str(path)
    assert path.is_relative_to(FOLDER)
    assert path != FOLDER
    assert path.suffix == ".jpg"
    assert all(len(os.fsencode(part)) <= 255 for part in path.parts)


@given(names, names)
def test_two_names_never_share_a_file_nor_a_folder_with_a_file(one: str, other: str) -> None:
    first, second = annotated_path(FOLDER, one), annotated_path(FOLDER, other)
    # POSIX keeps a leading "//" apart from "/", which file systems do not.
    same = [part.lstrip("/") for part in Path(one).parts] == [part.lstrip("/") for part in Path(other).parts]
    assert (first == second) == (Path(one) == Path(other)) or same
    assert first not in second.parents


def test_the_whole_image_is_drawn_on_and_written(tmp_path: Path) -> None:
    image = write_image(tmp_path / "in" / "red.png", "red", size=(200, 300))
    result = ClassificationResult((ClassScore("red", 0, 0.9),))
    written = write_annotated(Source("sub/red.png", image), result, tmp_path / "out")
    assert written == tmp_path / "out" / "sub" / "red.png.jpg"
    copy = cv2.imread(str(written))  # BGR
    assert copy.shape == (200, 300, 3)
    assert copy[190, 290].tolist() == pytest.approx([0, 0, 200], abs=6)  # the colours of the image are unchanged
    assert (abs(copy.astype(int) - [0, 0, 200]) > 40).any()  # something was drawn
