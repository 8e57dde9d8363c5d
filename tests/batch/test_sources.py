"""The images that the words of `cvserve predict` stand for."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from cvserve.batch import Source, Sources
from cvserve.errors import InvalidInput, NotFound


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """photos/ with images at two depths, other files and hidden ones; the working directory is its parent."""
    for name in ("b.jpg", "a/2.PNG", "a/1.jpeg", "c/x.heic", "notes.txt", ".hidden.jpg", "._b.jpg", ".cache/t.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


def names(*words: str | Path, stdin: bytes = b"") -> list[str]:
    return [source.name for source in Sources(words, stdin=io.BytesIO(stdin))]


def test_a_folder_gives_its_images_at_any_depth_sorted_and_relative(folder: Path) -> None:
    # Other files and hidden ones are left out. Images that cannot be decoded (HEIC) are listed, so that they are
    # reported.
    assert names("photos") == names(folder) == ["a/1.jpeg", "a/2.PNG", "b.jpg", "c/x.heic"]
    assert next(iter(Sources(["photos"]))).path == Path("photos/a/1.jpeg")


def test_several_arguments_keep_their_order_and_their_names_apart(folder: Path) -> None:
    assert names("photos/c", "photos/a") == ["photos/c/x.heic", "photos/a/1.jpeg", "photos/a/2.PNG"]


def test_a_file_is_taken_whatever_its_suffix_and_even_if_it_is_not_there(folder: Path) -> None:
    assert names("photos/notes.txt", "nothing.jpg") == ["photos/notes.txt", "nothing.jpg"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("photos/*/*", ["photos/a/1.jpeg", "photos/a/2.PNG", "photos/c/x.heic"]),
        ("photos/*", ["photos/b.jpg", "photos/notes.txt"]),  # files only, hidden ones not
        ("photos/**/*.jp*g", ["photos/b.jpg", "photos/a/1.jpeg"]),  # folder by folder
        ("photos/a/[12].*", ["photos/a/1.jpeg", "photos/a/2.PNG"]),
        ("photos/**", ["photos/a/1.jpeg", "photos/a/2.PNG", "photos/b.jpg", "photos/c/x.heic"]),
        ("phot?s/b.jpg", ["photos/b.jpg"]),
    ],
)
def test_globs(folder: Path, pattern: str, expected: list[str]) -> None:
    assert names(pattern) == expected


def test_a_file_whose_name_looks_like_a_glob_is_taken_as_a_file(folder: Path) -> None:
    (folder / "d[1].jpg").write_bytes(b"")
    assert names("photos/d[1].jpg") == ["photos/d[1].jpg"]


def test_lists_from_a_file_and_from_stdin(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"photos/b.jpg\r\n\nphotos/with space.jpg\nphotos/\xff.jpg")
    listed = ["photos/b.jpg", "photos/with space.jpg", os.fsdecode(b"photos/\xff.jpg")]
    assert names("@list.txt") == listed
    assert names("-", stdin=b"one.jpg\n\ntwo.jpg\n") == ["one.jpg", "two.jpg"]


def test_the_folder_of_the_annotated_copies_is_skipped(folder: Path) -> None:
    def left(word: str, leave_out: str) -> list[str]:
        return [source.name for source in Sources([word], leave_out=[leave_out, "elsewhere"])]

    assert left("photos", "photos/a/") == ["b.jpg", "c/x.heic"]
    assert left("photos/**/*.jp*g", "./photos/a") == ["photos/b.jpg"]
    assert left("photos/**", str(folder / "a")) == ["photos/b.jpg", "photos/c/x.heic"]
    assert left("photos/a/1.jpeg", "photos/a") == ["photos/a/1.jpeg"]  # a file is itself
    for word in ("photos", "photos/a", "photos/*.jpg"):
        with pytest.raises(InvalidInput, match="these images lie in photos, where new images are written"):
            Sources([word], leave_out=["elsewhere", "photos"])


def test_counting(folder: Path) -> None:
    sources = Sources(["photos"])
    assert sources.count() == len(list(sources)) == 4
    assert Sources(["-"]).count() is None


def test_linked_folders_are_followed_in_their_place(folder: Path, tmp_path: Path) -> None:
    for name in ("store/daisy/1.jpg", "store/daisy/late/2.jpg", "store/rose/3.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "day1").symlink_to("../store/daisy")
    (tmp_path / "links" / "day2").symlink_to("../store/rose")
    assert names("links") == ["day1/1.jpg", "day1/late/2.jpg", "day2/3.jpg"]
    (folder / "b").symlink_to("../links/day1")
    (folder / "link.jpg").symlink_to("b.jpg")
    expected = ["a/1.jpeg", "a/2.PNG", "b/1.jpg", "b/late/2.jpg", "b.jpg", "c/x.heic", "link.jpg"]
    assert names("photos") == expected
    assert names("photos/**") == [f"photos/{name}" for name in expected]


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        # Links to the parent, to themselves and to nothing.
        ({"photos/a/loop": "photos", "photos/me": "photos/me", "photos/gone": "missing"}, []),
        # A folder that is found by its own name keeps that name, whichever comes first.
        ({"photos/0": "photos/c", "photos/z": "photos/a"}, []),
        # The first of several links to one folder, or to a folder and the one around it.
        ({"photos/x": "store/in", "photos/y": "store", "photos/z": "store"}, ["x/2.jpg", "y/1.jpg"]),
        # Loops behind a link, and a link to the folder around the searched one.
        ({"photos/x": "store", "store/back": "photos", "store/in/up": "store"}, ["x/1.jpg", "x/in/2.jpg"]),
        ({"photos/x": "."}, ["x/store/1.jpg", "x/store/in/2.jpg"]),
        # A hidden folder is not found by its own name.
        ({"photos/x": "photos/.cache"}, ["x/t.jpg"]),
    ],
)
def test_no_folder_is_searched_twice(folder: Path, tmp_path: Path, links: dict[str, str], expected: list[str]) -> None:
    (tmp_path / "store" / "in").mkdir(parents=True)
    (tmp_path / "store" / "1.jpg").write_bytes(b"")
    (tmp_path / "store" / "in" / "2.jpg").write_bytes(b"")
    for link, to in links.items():
        (tmp_path / link).symlink_to(tmp_path / to)
    assert names("photos") == ["a/1.jpeg", "a/2.PNG", "b.jpg", "c/x.heic", *expected]


def test_links_into_the_folder_of_the_annotated_copies_are_skipped(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "a").mkdir(parents=True)
    (tmp_path / "out" / "a" / "1.jpeg.jpg").write_bytes(b"")
    (folder / "copies").symlink_to("../out/a")
    found = [source.name for source in Sources(["photos"], leave_out=["out"])]
    assert found == ["a/1.jpeg", "a/2.PNG", "b.jpg", "c/x.heic"]


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        ([], InvalidInput, "no images are given"),
        (["@missing.txt"], NotFound, "no list of images at missing.txt"),
        (["photos/*.gif"], NotFound, r"no file matches photos/\*.gif"),
        (["photos", "missing/"], NotFound, "no folder at missing/"),
    ],
)
def test_arguments_that_match_nothing_are_refused_before_any_work(
    folder: Path, words: list[str], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        Sources(words)


def test_a_folder_that_cannot_be_listed_is_reported_as_an_image(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.listdir

    def listdir(path: str) -> list[str]:
        if path.endswith("/a"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)  # chmod would not stop root
    assert names("photos") == ["a", "b.jpg", "c/x.heic"]


def test_sources_can_be_iterated_again() -> None:
    assert Source("a", Path("a")) == Source("a", Path("a"))
