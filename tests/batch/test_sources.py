"""What the words of `cvserve predict` mean."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from cvserve.batch import Source, Sources
from cvserve.errors import InvalidInput, NotFound


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """photos/ with pictures at two depths, other files and hidden ones; the working directory is its parent."""
    for name in ("b.jpg", "a/2.PNG", "a/1.jpeg", "c/x.heic", "notes.txt", ".hidden.jpg", "._b.jpg", ".cache/t.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


def names(*words: str | Path, stdin: bytes = b"") -> list[str]:
    return [source.name for source in Sources(words, stdin=io.BytesIO(stdin))]


def test_a_folder_gives_its_pictures_at_any_depth_sorted_and_relative(folder: Path) -> None:
    # Other files and hidden ones are left out; what cannot be decoded (HEIC) is not, so that it is reported.
    assert names("photos") == names(folder) == ["a/1.jpeg", "a/2.PNG", "b.jpg", "c/x.heic"]
    assert next(iter(Sources(["photos"]))).path == Path("photos/a/1.jpeg")


def test_several_words_keep_their_order_and_their_names_apart(folder: Path) -> None:
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


def test_a_file_whose_name_looks_like_a_glob_is_itself(folder: Path) -> None:
    (folder / "d[1].jpg").write_bytes(b"")
    assert names("photos/d[1].jpg") == ["photos/d[1].jpg"]


def test_lists_from_a_file_and_from_stdin(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"photos/b.jpg\r\n\nphotos/with space.jpg\nphotos/\xff.jpg")
    listed = ["photos/b.jpg", "photos/with space.jpg", os.fsdecode(b"photos/\xff.jpg")]
    assert names("@list.txt") == listed
    assert names("-", stdin=b"one.jpg\n\ntwo.jpg\n") == ["one.jpg", "two.jpg"]


def test_the_folder_of_the_annotated_copies_is_passed_over(folder: Path) -> None:
    def left(word: str, leave_out: str) -> list[str]:
        return [source.name for source in Sources([word], leave_out=[leave_out, "elsewhere"])]

    assert left("photos", "photos/a/") == ["b.jpg", "c/x.heic"]
    assert left("photos/**/*.jp*g", "./photos/a") == ["photos/b.jpg"]
    assert left("photos/**", str(folder / "a")) == ["photos/b.jpg", "photos/c/x.heic"]
    assert left("photos/a/1.jpeg", "photos/a") == ["photos/a/1.jpeg"]  # a file is itself
    for word in ("photos", "photos/a", "photos/*.jpg"):
        with pytest.raises(InvalidInput, match="these pictures lie in photos, where new pictures are written"):
            Sources([word], leave_out=["elsewhere", "photos"])


def test_counting(folder: Path) -> None:
    sources = Sources(["photos"])
    assert sources.count() == len(list(sources)) == 4
    assert Sources(["-"]).count() is None


def test_linked_folders_are_not_followed(folder: Path) -> None:
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "link.jpg").symlink_to(folder / "b.jpg")
    assert names("photos") == ["a/1.jpeg", "a/2.PNG", "b.jpg", "c/x.heic", "link.jpg"]


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        ([], InvalidInput, "no pictures were named"),
        (["@missing.txt"], NotFound, "no list of pictures at missing.txt"),
        (["photos/*.gif"], NotFound, r"no file matches photos/\*.gif"),
        (["photos", "missing/"], NotFound, "no folder at missing/"),
    ],
)
def test_words_that_mean_nothing_are_refused_before_any_work(
    folder: Path, words: list[str], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        Sources(words)


def test_a_folder_that_cannot_be_listed_stands_for_itself(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.listdir

    def listdir(path: str) -> list[str]:
        if path.endswith("/a"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)  # as root, chmod would not keep anyone out
    assert names("photos") == ["a", "b.jpg", "c/x.heic"]


def test_sources_are_values() -> None:
    assert Source("a", Path("a")) == Source("a", Path("a"))
